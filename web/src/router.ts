// Where one is: #/agents/ID. A fragment needs nothing of the server and survives a reload.
import { signal } from "@preact/signals";

const parse = () => decodeURI(location.hash.replace(/^#\/?/, "")).split("/").filter(Boolean);

export const route = signal<string[]>(parse());
window.addEventListener("hashchange", () => {
  route.value = parse();
  document.querySelector<HTMLElement>("main")?.focus();
});

export const href = (...parts: string[]) => "#/" + parts.map(encodeURIComponent).join("/");
export const go = (...parts: string[]) => {
  location.hash = href(...parts);
};
