// The living map: console and proxies in the middle, agents around them, and what flows.
import type { Agent, Flow, Job, Proxy } from "./types";
import { rate } from "./format";
import { href } from "./router";

const WIDTH = 920;
const ROW = 58;
const AGENTS_MAX = 24;
const BOX = { w: 172, h: 38 };

interface Point { x: number; y: number }
interface Place extends Point { key: string; name: string; state: string; link: string; kind: "agent" | "proxy" | "console" | "more" }

interface Traffic { key: string; from: Point; to: Point; over?: Point; kind: Kind; speed: number; title: string }
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

function column(n: number, x: number, height: number): Point[] {
  return Array.from({ length: n }, (_, i) => ({ x, y: (height * (i + 1)) / (n + 1) }));
}

function layout(agents: Agent[], more: number, proxies: Proxy[]): { places: Map<string, Place>; height: number } {
  const places = new Map<string, Place>();
  const half = Math.ceil((agents.length + (more ? 1 : 0)) / 2);
  const rows = Math.max(half, proxies.length + 2, 4);
  const height = rows * ROW + 40;
  const left = column(half, BOX.w / 2 + 8, height);
  const right = column(Math.max(agents.length + (more ? 1 : 0) - half, 0), WIDTH - BOX.w / 2 - 8, height);
  const spots = [...left, ...right];
  agents.forEach((a, i) => places.set(a.id, { ...spots[i], key: a.id, name: a.name, state: a.state, link: href("agents", a.id), kind: "agent" }));
  if (more) places.set("more", { ...spots[agents.length], key: "more", name: `${more} more`, state: "", link: href("agents"), kind: "more" });
  places.set("console", { x: WIDTH / 2, y: 34, key: "console", name: "console", state: "online", link: href("settings"), kind: "console" });
  const middle = height - 60;
  proxies.forEach((p, i) => places.set(`proxy ${p.name}`, {
    x: WIDTH / 2, y: 60 + (middle * (i + 1)) / (proxies.length + 1), key: p.id, name: p.name, state: p.state, link: href("proxies", p.id), kind: "proxy",
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

const curve = (a: Point, b: Point) => `M${a.x} ${a.y}C${(a.x + b.x) / 2} ${a.y} ${(a.x + b.x) / 2} ${b.y} ${b.x} ${b.y}`;

/** Around the middle, where the boxes of console and proxies are. */
function detour(a: Point, b: Point, height: number): string {
  if (a.x === b.x) {
    const bend = a.x < WIDTH / 2 ? a.x + 190 : a.x - 190;
    return `M${a.x} ${a.y}C${bend} ${a.y} ${bend} ${b.y} ${b.x} ${b.y}`;
  }
  return `M${a.x} ${a.y}C${WIDTH / 2 - 120} ${height + 10} ${WIDTH / 2 + 120} ${height + 10} ${b.x} ${b.y}`;
}

function lineOf(t: Traffic, height: number): string {
  return t.over ? `${curve(t.from, t.over)}${curve(t.over, t.to).replace("M", "L")}` : detour(t.from, t.to, height);
}

/** Ten times the speed is two pixels more. */
const widthOf = (speed: number) => Math.min(9, Math.max(2, 2 * Math.log10(Math.max(speed, 1) / 1e4)));

function Box({ at }: { at: Place }) {
  const name = at.name.length > 20 ? `${at.name.slice(0, 19)}…` : at.name;
  return (
    <a href={at.link} aria-label={`${at.kind} ${at.name}${at.state ? `, ${at.state}` : ""}`}>
      <g class={`box ${at.kind} ${at.state}`} transform={`translate(${at.x - BOX.w / 2} ${at.y - BOX.h / 2})`}>
        <rect class="ground" width={BOX.w} height={BOX.h} rx={at.kind === "agent" || at.kind === "more" ? 8 : 19} />
        <rect width={BOX.w} height={BOX.h} rx={at.kind === "agent" || at.kind === "more" ? 8 : 19} />
        <circle cx="18" cy={BOX.h / 2} r="4.5" />
        <text x="32" y={BOX.h / 2 + 5}>{name}</text>
        <title>{`${at.name}${at.state ? `: ${at.state}` : ""}`}</title>
      </g>
    </a>
  );
}

export function LiveMap({ agents, proxies, jobs }: { agents: Agent[]; proxies: Proxy[]; jobs: Job[] }) {
  const flows = jobs.filter((j) => j.state === "running").flatMap((j) => j.run?.flows ?? []).filter((f) => f.state === "moving" || f.state === "connecting");
  const { shown, more } = chosen(agents, flows);
  const { places, height } = layout(shown, more, proxies);
  const moving = traffic(flows, places);
  const home = places.get("console")!;
  const controls = shown.filter((a) => a.state === "online").map((a) => {
    const { proxy } = pathOf(a.path);
    return { key: a.id, d: curve(places.get(a.id)!, (proxy && places.get(`proxy ${proxy}`)) || home) };
  });
  return (
    <figure class="map">
      <svg viewBox={`0 0 ${WIDTH} ${height}`} role="group" aria-label="Who is connected to whom">
        {proxies.map((p) => <path key={p.id} class={`control ${p.state}`} d={`M${home.x} ${home.y}L${places.get(`proxy ${p.name}`)!.x} ${places.get(`proxy ${p.name}`)!.y}`} />)}
        {controls.map((c) => <path key={c.key} class="control" d={c.d} />)}
        {moving.map((t) => (
          <g key={t.key} class={`flow ${t.kind} ${t.speed > 0 ? "moving" : ""}`}>
            <path d={lineOf(t, height)} stroke-width={widthOf(t.speed)}><title>{t.title}</title></path>
            {t.speed > 0 && <path class="dash" d={lineOf(t, height)} />}
          </g>
        ))}
        {[...places.values()].map((at) => <Box key={at.key} at={at} />)}
        {moving.filter((t) => t.speed > 0).slice(0, 12).map((t, i) => {
          const at = t.over ?? { x: WIDTH / 2, y: height - 8 };
          return <text key={t.key} class="speed" x={at.x} y={at.y + (t.over ? 34 + 15 * i : -12 * i)}>{rate(t.speed)}</text>;
        })}
      </svg>
      <figcaption>
        <span class="key direct">direct</span><span class="key relayed">through a proxy</span><span class="key quic">over UDP</span><span class="key control">control</span>
        <span class="hint">a thicker line is faster</span>
      </figcaption>
    </figure>
  );
}
