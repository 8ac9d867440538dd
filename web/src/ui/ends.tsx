// Where data comes from and goes to, and by which way: as the console writes them, set for people.
import { pathOf } from "../format";

/** AGENT:PATH, or AGENT:ADDRESS:PORT of a forward: the agent first, what is there below it. */
export function End({ of: text }: { of: string }) {
  const colon = text.indexOf(":");
  if (colon < 0) return <span class="end">{text}</span>;
  return <span class="end">{text.slice(0, colon)}<span class="hidden">:</span> <code>{text.slice(colon + 1)}</code></span>;
}

/** One a line; of many the first of them. */
export function Ends({ of: list, most = 3 }: { of: string[]; most?: number }) {
  const shown = list.length > most ? list.slice(0, most - 1) : list;
  return <>{shown.map((end) => <End key={end} of={end} />)}{list.length > shown.length && <span class="hint">and {list.length - shown.length} more</span>}</>;
}

/** A path of pathOf(). */
export function Route({ of: text }: { of: string }) {
  const { proxy, transport, more } = pathOf(text);
  if (!transport) return <>{text || "–"}</>;
  return <span class="route">{proxy ? `via ${proxy}` : "direct"} <span class="tag">{transport.toUpperCase()}{more}</span></span>;
}
