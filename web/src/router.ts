// Where one is: #/agents/ID. A fragment needs nothing of the server and survives a reload.
import { signal } from "@preact/signals";

/** A part that is no valid text stays as it is: whoever typed it sees that there is no such page. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const parse = () => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);

export const route = signal<string[]>(parse());
window.addEventListener("hashchange", () => {
  route.value = parse();
  document.querySelector<HTMLElement>("main")?.focus();
});

export const href = (...parts: string[]) => "#/" + parts.map(encodeURIComponent).join("/");
export const go = (...parts: string[]) => {
  location.hash = href(...parts);
};
