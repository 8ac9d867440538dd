// The living map: console and proxies in the middle, agents on both sides, and what flows between them.
// Of many agents the busiest have a box of their own; the others are counted, by the proxy that they use.
import { signal } from "@preact/signals";
import type { ActiveFlow, Agent, Flow, Proxy } from "./types";
import { count, pathOf, rate } from "./format";
import { href } from "./router";
import { fits, wordsOf } from "./search";

/** Measures of the drawing: a phone's is another drawing, not a smaller one. */
interface Frame { width: number; agents: number; proxies: number; agent: Size; middle: Size; row: number; letters: { agent: number; middle: number } }
interface Size { w: number; h: number }
const WIDE: Frame = { width: 940, agents: 20, proxies: 9, agent: { w: 190, h: 46 }, middle: { w: 190, h: 46 }, row: 58, letters: { agent: 20, middle: 20 } };
const NARROW: Frame = { width: 400, agents: 10, proxies: 5, agent: { w: 126, h: 50 }, middle: { w: 114, h: 50 }, row: 62, letters: { agent: 11, middle: 9 } };
const GROUPS_MAX = 6;

const query = window.matchMedia("(max-width: 760px)");
const narrow = signal(query.matches);
query.addEventListener("change", () => {
  narrow.value = query.matches;
});

interface Point { x: number; y: number }
interface Place extends Point { key: string; name: string; state: string; link: string; kind: "agent" | "proxy" | "console" | "more"; size: Size; side: -1 | 0 | 1; sub?: string }

interface Traffic { key: string; from: Place; to: Place; over?: Place; kind: Kind; speed: number; title: string }
type Kind = "direct" | "quic" | "raw" | "wrapped";
const KINDS: Record<Kind, string> = { direct: "direct, TCP", raw: "proxy, TCP raw", wrapped: "proxy, TCP wrapped", quic: "UDP (QUIC)" };

export function kindOf(flow: Pick<Flow, "path" | "raw">): Kind {
  const { proxy, transport } = pathOf(flow.path);
  return transport === "udp" ? "quic" : !proxy ? "direct" : flow.raw ? "raw" : "wrapped";
}

// ---- who is shown ----

/** Agents without a box of their own that have something in common. */
interface Group { key: string; sub: string; link: string; ids: Set<string>; proxy?: string }

/** How fast an agent is, so coarsely that the drawing does not jump about. */
function speeds(flows: Flow[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const flow of flows)
    for (const end of [flow.source.id, flow.target.id]) sums.set(end, (sums.get(end) ?? 0) + flow.speed);
  return new Map([...sums].map(([id, speed]) => [id, 1 + Math.floor(Math.log10(speed + 1))]));
}

function groupOf(agent: Agent): Omit<Group, "ids"> {
  const { proxy } = pathOf(agent.path);
  if (agent.state === "pending") return { key: "pending", sub: "wait for approval", link: href("agents", "find", "pending") };
  if (agent.state !== "online") return { key: "away", sub: "away", link: href("agents", "find", "offline") };
  if (!proxy) return { key: "direct", sub: "directly", link: href("agents", "find", "online direct") };
  return { key: `via ${proxy}`, sub: `via ${proxy}`, link: href("agents", "find", `online proxy ${proxy}`), proxy };
}

/** The largest groups, and the others as one. */
function grouped(agents: Agent[]): Group[] {
  const groups = new Map<string, Group>();
  for (const agent of agents) {
    const found = groupOf(agent);
    if (!groups.has(found.key)) groups.set(found.key, { ...found, ids: new Set() });
    groups.get(found.key)!.ids.add(agent.id);
  }
  const all = [...groups.values()].sort((a, b) => b.ids.size - a.ids.size);
  if (all.length <= GROUPS_MAX) return all;
  const rest = new Set(all.slice(GROUPS_MAX - 1).flatMap((group) => [...group.ids]));
  return [...all.slice(0, GROUPS_MAX - 1), { key: "others", sub: "elsewhere", link: href("agents"), ids: rest }];
}

/** Those who move most come first, then those who could. */
function chosen(agents: Agent[], flows: Flow[], most: number): { shown: Agent[]; groups: Group[] } {
  const speed = speeds(flows);
  const rank = (a: Agent) => (a.state === "online" ? 0 : a.state === "pending" ? 1 : 2);
  const ordered = agents.filter((a) => a.state !== "revoked")
    .sort((a, b) => (speed.get(b.id) ?? 0) - (speed.get(a.id) ?? 0) || rank(a) - rank(b) || a.name.localeCompare(b.name));
  const whole = ordered.length <= most;
  const shown = whole ? ordered : ordered.slice(0, most - Math.min(GROUPS_MAX, 4));
  return { shown: shown.sort((a, b) => a.name.localeCompare(b.name)), groups: whole ? [] : grouped(ordered.slice(shown.length)) };
}

/** Those that carry most come first, then those with most endpoints, then those that cannot be reached. */
function chosenProxies(proxies: Proxy[], flows: Flow[], most: number): { shown: Proxy[]; hidden: Proxy[] } {
  if (proxies.length <= most) return { shown: proxies, hidden: [] };
  const carried = new Map<string, number>();
  for (const flow of flows) {
    const { proxy } = pathOf(flow.path);
    if (proxy) carried.set(proxy, (carried.get(proxy) ?? 0) + flow.speed);
  }
  const digits = (n: number) => Math.ceil(Math.log10(n + 1));
  const ordered = [...proxies].sort((a, b) => digits(carried.get(b.name) ?? 0) - digits(carried.get(a.name) ?? 0)
    || Number(b.state === "connected") - Number(a.state === "connected") || (b.report?.endpoints ?? 0) - (a.report?.endpoints ?? 0) || a.name.localeCompare(b.name));
  const shown = new Set(ordered.slice(0, most - 1));
  return { shown: proxies.filter((p) => shown.has(p)), hidden: proxies.filter((p) => !shown.has(p)) };
}

// ---- where ----

const column = (n: number, x: number, height: number): Point[] => Array.from({ length: n }, (_, i) => ({ x, y: (height * (i + 0.5)) / n }));

function layout(frame: Frame, agents: Agent[], groups: Group[], proxies: Proxy[], hidden: Proxy[]): { places: Map<string, Place>; height: number } {
  const inMiddle = proxies.length + 1 + (hidden.length ? 1 : 0);
  const places = new Map<string, Place>();
  const total = agents.length + groups.length;
  const half = Math.ceil(total / 2);
  const height = Math.max(half, inMiddle, 3) * frame.row + 8;
  const edge = frame.agent.w / 2 + 4;
  const spots = [...column(half, edge, height), ...column(total - half, frame.width - edge, height)];
  const at = (i: number) => ({ ...spots[i], size: frame.agent, side: (i < half ? -1 : 1) as -1 | 1 });
  agents.forEach((a, i) => places.set(a.id, { ...at(i), key: a.id, name: a.name, state: a.state, link: href("agents", a.id), kind: "agent" }));
  groups.forEach((g, i) => places.set(g.key, { ...at(agents.length + i), key: g.key, name: `+${count(g.ids.size)} more`, state: "", sub: g.sub, link: g.link, kind: "more" }));
  const middle = column(inMiddle, frame.width / 2, height);
  const inside = { size: frame.middle, side: 0 as const };
  places.set("console", { ...middle[0], ...inside, key: "console", name: "console", state: "online", link: href("settings"), kind: "console" });
  proxies.forEach((p, i) => places.set(`proxy ${p.name}`, {
    ...middle[i + 1], ...inside, key: p.id, name: p.name, state: p.draining ? "draining" : p.state, link: href("proxies", p.id), kind: "proxy",
  }));
  const lost = hidden.filter((p) => p.state === "unreachable").length;
  if (hidden.length) places.set("proxies", {
    ...middle[inMiddle - 1], ...inside, key: "proxies", name: `+${hidden.length} more`, state: lost ? "unreachable" : "", sub: lost ? `${lost} unreachable` : "proxies", link: href("proxies"), kind: "more",
  });
  for (const p of hidden) places.set(`proxy ${p.name}`, places.get("proxies")!);
  return { places, height };
}

/** Between the places of both ends; what goes the same way between groups is one line. */
function traffic(flows: Flow[], placeOf: (id: string) => Place | undefined, proxyAt: (name: string) => Place | undefined): Traffic[] {
  const lines = new Map<string, Traffic>();
  for (const flow of flows) {
    const from = placeOf(flow.source.id), to = placeOf(flow.target.id);
    if (!from || !to || !flow.path || from === to) continue;
    const kind = kindOf(flow), { proxy } = pathOf(flow.path);
    const over = proxy ? proxyAt(proxy) : undefined;
    const key = [from.key, to.key, over?.key ?? "", kind].join(" ");
    const line = lines.get(key) ?? { key, from, to, over, kind, speed: 0, title: "" };
    line.speed += flow.speed;
    line.title += `${line.title ? "\n" : ""}${flow.source.name} → ${flow.target.name}: ${rate(flow.speed)}, ${flow.path}${kind === "raw" ? ", raw" : kind === "wrapped" ? ", wrapped" : ""}`;
    lines.set(key, line);
  }
  return [...lines.values()];
}

// ---- lines ----

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

/** To the first proxy straight, to the others past those between. */
function fromConsole(home: Place, to: Place, nth: number): string {
  if (nth === 0) return `M${home.x} ${home.y}L${to.x} ${to.y}`;
  const x = home.x + home.size.w / 2, bend = x + 14 + 7 * nth;
  return `M${x} ${home.y}C${bend} ${home.y} ${bend} ${to.y} ${x} ${to.y}`;
}

const lineOf = (t: Traffic, frame: Frame) => (t.over ? relayed(t) : direct(t.from, t.to, frame));

/** Ten times the speed is two pixels more. */
const widthOf = (speed: number) => Math.min(9, Math.max(2, 2 * Math.log10(Math.max(speed, 1) / 1e4)));

// ---- drawing ----

const brief = (speed: number) => rate(speed).replace(/(\d+)\.\d/, "$1").replace("bit/s", "b/s");

/** What goes out of and comes into a place, in words; nothing when nothing does. */
function wordsAt(place: Place, moving: Traffic[]): string {
  const sum = (list: Traffic[]) => list.reduce((n, t) => n + t.speed, 0);
  if (place.kind === "proxy") {
    const through = sum(moving.filter((t) => t.over?.key === place.key));
    return through > 0 ? rate(through) : "";
  }
  const out = sum(moving.filter((t) => t.from.key === place.key)), inward = sum(moving.filter((t) => t.to.key === place.key));
  if (place.sub) return out + inward > 0 ? `${place.sub}, ${rate(out + inward)}` : place.sub;
  if (out > 0 && inward > 0 && narrow.value) return `↕ ${rate(out + inward)}`; // there is no room for two
  const say = out > 0 && inward > 0 ? brief : rate; // two must have room, too
  return [out > 0 ? `↑ ${say(out)}` : "", inward > 0 ? `↓ ${say(inward)}` : ""].filter(Boolean).join("  ");
}

/** What a dot alone would say by its colour. */
const UNUSUAL = ["pending", "offline", "unreachable", "connecting", "draining"];

function Box({ at, words, letters }: { at: Place; words: string; letters: number }) {
  const name = at.name.length > letters ? `${at.name.slice(0, letters - 1)}…` : at.name;
  const { w, h } = at.size;
  const round = at.side ? 9 : h / 2;
  const said = [...new Set([at.state, words])].filter(Boolean).join(", ");
  const dot = at.kind !== "more";
  return (
    <a href={at.link} aria-label={at.kind === "more" ? `${at.name}, ${at.sub}` : `${at.kind} ${at.name}${at.state ? `, ${at.state}` : ""}`}>
      <g class={`box ${at.kind} ${at.state}`} transform={`translate(${at.x - w / 2} ${at.y - h / 2})`}>
        <rect class="ground" width={w} height={h} rx={round} />
        <rect class="face" width={w} height={h} rx={round} />
        {dot && <circle cx="17" cy={words ? h / 2 - 8 : h / 2} r="4.5" />}
        <text x={dot ? 29 : at.side ? 14 : 22} y={words ? h / 2 - 3 : h / 2 + 5}>{name}</text>
        {words && <text class="speed" x={dot ? 29 : at.side ? 14 : 22} y={h / 2 + 15}>{words}</text>}
        <title>{`${at.name}${said ? `: ${said}` : ""}`}</title>
      </g>
    </a>
  );
}

/** A sample of each kind of line, and how it is called. */
function Legend() {
  return (
    <figcaption>
      {(Object.keys(KINDS) as Kind[]).map((kind) => (
        <span key={kind}><svg class="key" viewBox="0 0 28 8" aria-hidden="true"><g class={`flow ${kind}`}><path d="M2 4H26" stroke-width="4" /></g></svg>{KINDS[kind]}</span>
      ))}
      <span><svg class="key" viewBox="0 0 28 8" aria-hidden="true"><path class="control" d="M2 4H26" /></svg>control</span>
      <span class="hint">a thicker line is faster</span>
    </figcaption>
  );
}

export function LiveMap({ agents, proxies, under, filter }: { agents: Agent[]; proxies: Proxy[]; under: ActiveFlow[]; filter: string }) {
  const frame = narrow.value ? NARROW : WIDE;
  const words = wordsOf(filter);
  const flows = under.filter((f) => f.state === "moving" || f.state === "connecting");
  const { shown, groups } = chosen(words.length ? agents.filter((a) => fits(a, words)) : agents, flows, frame.agents);
  const { shown: middle, hidden } = chosenProxies(proxies, flows, frame.proxies);
  const { places, height } = layout(frame, shown, groups, middle, hidden);
  const boxes = new Map([...places.values()].map((at) => [at.key, at]));
  const groupKeys = new Map(groups.flatMap((g) => [...g.ids].map((id) => [id, g.key] as const)));
  const moving = traffic(flows, (id) => places.get(groupKeys.get(id) ?? id), (name) => places.get(`proxy ${name}`));
  const home = places.get("console")!;
  const towards = (proxy?: string) => (proxy && places.get(`proxy ${proxy}`)) || home;
  const controls = [
    ...shown.filter((a) => a.state === "online").map((a) => ({ key: a.id, d: curve(places.get(a.id)!, towards(pathOf(a.path).proxy)) })),
    ...groups.filter((g) => g.proxy || g.key === "direct").map((g) => ({ key: g.key, d: curve(places.get(g.key)!, towards(g.proxy)) })),
  ];
  return (
    <figure class="map">
      {shown.length === 0 && filter && <p class="calm">No agent fits “{filter}”.</p>}
      <svg viewBox={`0 0 ${frame.width} ${height}`} role="group" aria-label="Who is connected to whom">
        {middle.map((p, i) => <path key={p.id} class={`control ${p.state}`} d={fromConsole(home, places.get(`proxy ${p.name}`)!, i)} />)}
        {controls.map((c) => <path key={c.key} class="control" d={c.d} />)}
        {moving.map((t) => (
          <g key={t.key} class={`flow ${t.kind} ${t.speed > 0 ? "moving" : ""}`}>
            <path d={lineOf(t, frame)} stroke-width={widthOf(t.speed)}><title>{t.title}</title></path>
            {t.speed > 0 && <path class="dash" d={lineOf(t, frame)} />}
          </g>
        ))}
        {[...boxes.values()].map((at) => <Box key={at.key} at={at} words={wordsAt(at, moving) || (UNUSUAL.includes(at.state) ? at.state : "")} letters={at.side ? frame.letters.agent : frame.letters.middle} />)}
      </svg>
      <Legend />
    </figure>
  );
}
