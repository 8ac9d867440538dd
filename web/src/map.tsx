// The living map: console and proxies in the middle, agents on both sides, and what flows between them.
import { signal } from "@preact/signals";
import type { Agent, Flow, Proxy } from "./types";
import { rate } from "./format";
import { href } from "./router";

const AGENTS_MAX = 24;

/** Measures of the drawing: a phone's is another drawing, not a smaller one. */
interface Frame { width: number; agent: Size; middle: Size; row: number; letters: { agent: number; middle: number } }
interface Size { w: number; h: number }
const WIDE: Frame = { width: 940, agent: { w: 190, h: 48 }, middle: { w: 190, h: 48 }, row: 64, letters: { agent: 20, middle: 20 } };
const NARROW: Frame = { width: 400, agent: { w: 124, h: 48 }, middle: { w: 112, h: 48 }, row: 62, letters: { agent: 11, middle: 9 } };

const query = window.matchMedia("(max-width: 760px)");
const narrow = signal(query.matches);
query.addEventListener("change", () => {
  narrow.value = query.matches;
});

interface Point { x: number; y: number }
interface Place extends Point { key: string; name: string; state: string; link: string; kind: "agent" | "proxy" | "console" | "more"; size: Size; side: -1 | 0 | 1 }

interface Traffic { key: string; from: Place; to: Place; over?: Place; kind: Kind; speed: number; title: string }
type Kind = "direct" | "quic" | "relayed";

/** "direct tcp", "proxy NAME tcp": what carries a tunnel, and over which proxy. */
export function pathOf(text: string): { kind: Kind; proxy?: string; transport: string } {
  const words = text.split(" ");
  const transport = words[words.length - 1] ?? "";
  if (words[0] === "proxy") return { kind: transport === "quic" ? "quic" : "relayed", proxy: words.slice(1, -1).join(" "), transport };
  return { kind: transport === "quic" ? "quic" : "direct", transport };
}

/** Those who do something come first, then those who could. */
function chosen(agents: Agent[], flows: Flow[]): { shown: Agent[]; more: number } {
  const busy = new Set(flows.flatMap((f) => [f.source.id, f.target.id]));
  const rank = (a: Agent) => (busy.has(a.id) ? 0 : a.state === "online" ? 1 : a.state === "pending" ? 2 : 3);
  const usable = agents.filter((a) => a.state !== "revoked").sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  return { shown: usable.slice(0, AGENTS_MAX).sort((a, b) => a.name.localeCompare(b.name)), more: Math.max(0, usable.length - AGENTS_MAX) };
}

const column = (n: number, x: number, height: number): Point[] => Array.from({ length: n }, (_, i) => ({ x, y: (height * (i + 0.5)) / n }));

function layout(frame: Frame, agents: Agent[], more: number, proxies: Proxy[]): { places: Map<string, Place>; height: number } {
  const places = new Map<string, Place>();
  const count = agents.length + (more ? 1 : 0);
  const half = Math.ceil(count / 2);
  const height = Math.max(half, proxies.length + 1, 3) * frame.row + 8;
  const edge = frame.agent.w / 2 + 4;
  const spots = [...column(half, edge, height), ...column(count - half, frame.width - edge, height)];
  const at = (i: number) => ({ ...spots[i], size: frame.agent, side: (i < half ? -1 : 1) as -1 | 1 });
  agents.forEach((a, i) => places.set(a.id, { ...at(i), key: a.id, name: a.name, state: a.state, link: href("agents", a.id), kind: "agent" }));
  if (more) places.set("more", { ...at(agents.length), key: "more", name: `${more} more`, state: "", link: href("agents"), kind: "more" });
  const middle = column(proxies.length + 1, frame.width / 2, height);
  const inside = { size: frame.middle, side: 0 as const };
  places.set("console", { ...middle[0], ...inside, key: "console", name: "console", state: "online", link: href("settings"), kind: "console" });
  proxies.forEach((p, i) => places.set(`proxy ${p.name}`, {
    ...middle[i + 1], ...inside, key: p.id, name: p.name, state: p.draining ? "connecting" : p.state, link: href("proxies", p.id), kind: "proxy",
  }));
  return { places, height };
}

function traffic(flows: Flow[], places: Map<string, Place>): Traffic[] {
  return flows.flatMap((flow) => {
    const from = places.get(flow.source.id), to = places.get(flow.target.id);
    if (!from || !to || !flow.path) return [];
    const { kind, proxy } = pathOf(flow.path);
    const over = proxy ? places.get(`proxy ${proxy}`) : undefined;
    return [{ key: flow.id, from, to, over, kind, speed: flow.speed, title: `${flow.source.name} → ${flow.target.name}: ${rate(flow.speed)}, ${flow.path}` }];
  });
}

/** Where a line meets a box: at the edge that faces the other end. */
const edgeOf = (a: Place, b: Point): Point => ({ x: a.x + (Math.sign(b.x - a.x) * a.size.w) / 2, y: a.y });

function curve(from: Place, to: Place): string {
  const a = edgeOf(from, to), b = edgeOf(to, from);
  const bend = (a.x + b.x) / 2;
  return `M${a.x} ${a.y}C${bend} ${a.y} ${bend} ${b.y} ${b.x} ${b.y}`;
}

/** Directly: past the middle, between the rows; on one side in a bow. */
function direct(from: Place, to: Place, frame: Frame): string {
  if (from.side === to.side) {
    const x = from.x - (from.side * from.size.w) / 2, bend = x - from.side * frame.width * 0.11;
    return `M${x} ${from.y}C${bend} ${from.y} ${bend} ${to.y} ${x} ${to.y}`;
  }
  return curve(from, to);
}

/** Through a proxy's box, from one edge of it to where the line goes on. */
function relayed(t: Traffic): string {
  const over = t.over!;
  return `${curve(t.from, over)}L${edgeOf(over, t.to).x} ${over.y}${curve(over, t.to).replace(/^M[^C]*/, "")}`;
}

const lineOf = (t: Traffic, frame: Frame) => (t.over ? relayed(t) : direct(t.from, t.to, frame));

/** Ten times the speed is two pixels more. */
const widthOf = (speed: number) => Math.min(9, Math.max(2, 2 * Math.log10(Math.max(speed, 1) / 1e4)));

/** What goes out of and comes into a place, in words; nothing when nothing does. */
function wordsOf(place: Place, moving: Traffic[]): string {
  const sum = (list: Traffic[]) => list.reduce((n, t) => n + t.speed, 0);
  if (place.kind === "proxy") {
    const through = sum(moving.filter((t) => t.over?.key === place.key));
    return through > 0 ? rate(through) : "";
  }
  const out = sum(moving.filter((t) => t.from.key === place.key)), inward = sum(moving.filter((t) => t.to.key === place.key));
  return [out > 0 ? `↑ ${rate(out)}` : "", inward > 0 ? `↓ ${rate(inward)}` : ""].filter(Boolean).join("  ");
}

function Box({ at, words, letters }: { at: Place; words: string; letters: number }) {
  const name = at.name.length > letters ? `${at.name.slice(0, letters - 1)}…` : at.name;
  const { w, h } = at.size;
  const round = at.kind === "agent" || at.kind === "more" ? 9 : h / 2;
  const said = [at.state, words].filter(Boolean).join(", ");
  return (
    <a href={at.link} aria-label={`${at.kind} ${at.name}${at.state ? `, ${at.state}` : ""}`}>
      <g class={`box ${at.kind} ${at.state}`} transform={`translate(${at.x - w / 2} ${at.y - h / 2})`}>
        <rect class="ground" width={w} height={h} rx={round} />
        <rect class="face" width={w} height={h} rx={round} />
        <circle cx="17" cy={words ? h / 2 - 8 : h / 2} r="4.5" />
        <text x="29" y={words ? h / 2 - 3 : h / 2 + 5}>{name}</text>
        {words && <text class="speed" x="29" y={h / 2 + 15}>{words}</text>}
        <title>{`${at.name}${said ? `: ${said}` : ""}`}</title>
      </g>
    </a>
  );
}

export function LiveMap({ agents, proxies, under }: { agents: Agent[]; proxies: Proxy[]; under: Flow[] }) {
  const frame = narrow.value ? NARROW : WIDE;
  const flows = under.filter((f) => f.state === "moving" || f.state === "connecting");
  const { shown, more } = chosen(agents, flows);
  const { places, height } = layout(frame, shown, more, proxies);
  const moving = traffic(flows, places);
  const home = places.get("console")!;
  const controls = shown.filter((a) => a.state === "online").map((a) => {
    const { proxy } = pathOf(a.path);
    return { key: a.id, d: curve(places.get(a.id)!, (proxy && places.get(`proxy ${proxy}`)) || home) };
  });
  return (
    <figure class="map">
      <svg viewBox={`0 0 ${frame.width} ${height}`} role="group" aria-label="Who is connected to whom">
        {proxies.map((p) => <path key={p.id} class={`control ${p.state}`} d={`M${home.x} ${home.y}L${places.get(`proxy ${p.name}`)!.x} ${places.get(`proxy ${p.name}`)!.y}`} />)}
        {controls.map((c) => <path key={c.key} class="control" d={c.d} />)}
        {moving.map((t) => (
          <g key={t.key} class={`flow ${t.kind} ${t.speed > 0 ? "moving" : ""}`}>
            <path d={lineOf(t, frame)} stroke-width={widthOf(t.speed)}><title>{t.title}</title></path>
            {t.speed > 0 && <path class="dash" d={lineOf(t, frame)} />}
          </g>
        ))}
        {[...places.values()].map((at) => <Box key={at.key} at={at} words={wordsOf(at, moving)} letters={at.side ? frame.letters.agent : frame.letters.middle} />)}
      </svg>
      <figcaption>
        <span class="key direct">direct</span><span class="key relayed">through a proxy</span><span class="key quic">over UDP</span><span class="key control">control</span>
        <span class="hint">a thicker line is faster</span>
      </figcaption>
    </figure>
  );
}
