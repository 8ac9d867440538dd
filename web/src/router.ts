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

const parse = () => location.hash.replace(/^#\/?/, "").replace(/\?.*$/, "").split("/").filter(Boolean).map(decoded);
const parseQuery = () => Object.fromEntries(new URLSearchParams(location.hash.replace(/^[^?]*\??/, "")));

export const route = signal<string[]>(parse());
/** What stands behind a question mark: how a page is looked at, such as by which filters. */
export const query = signal<Record<string, string>>(parseQuery());
window.addEventListener("hashchange", () => {
  query.value = parseQuery();
  const before = route.value.join("/");
  route.value = parse();
  if (before === route.value.join("/")) return;
  document.querySelector<HTMLElement>("main")?.focus();
});

export const href = (...parts: string[]) => "#/" + parts.map(encodeURIComponent).join("/");
export const go = (...parts: string[]) => {
  location.hash = href(...parts);
};

/** The text of what is given of @values. */
export const queryOf = (values: Record<string, string>) => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
/** The same page, looked at by @values; a reload keeps them, and going back does not run through each of them. */
export function lookBy(values: Record<string, string>): void {
  const text = queryOf(values);
  history.replaceState(null, "", href(...route.value) + (text && `?${text}`));
  query.value = parseQuery();
}
