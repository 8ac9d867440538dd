// What needs somebody: the worst first, of the same badness what waits longest; each with what to do.
import { agents, flows, jobs, proxies } from "./live";
import { href } from "./router";
import type { Agent, Job, Proxy } from "./types";

export interface Matter { key: string; kind: Kind; tone: string; rank: number; since: string | null; text: string; todo: string; command?: string; link: string }
type Kind = keyof typeof MANY;
/** What several of a kind are called together. */
const MANY = {
  unreachable: "proxies cannot be reached", settings: "proxies did not take their settings", draining: "proxies are draining", failed: "jobs failed", partial: "jobs have files that were not done",
  waits: "jobs wait", pending: "agents ask to be let in", expires: "agents are away, and their certificates end soon", away: "agents are away",
};
const ALONE_MOST = 3;

/** How bad: 0 something is broken, 1 somebody waits for a decision, 2 something is not as it should be. */
const BROKEN = 0, WAITS = 1, ODD = 2;
const SOON_MS = 14 * 86400e3;

const count = (n: number, one: string, many: string) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function ofProxy(p: Proxy): Matter[] {
  const link = href("proxies", p.id), found: Matter[] = [];
  if (p.state === "unreachable") {
    found.push({ key: p.id, kind: "unreachable", tone: p.state, rank: BROKEN, since: p.since, link, text: `Proxy ${p.name} cannot be reached: ${p.error ?? "no answer"}`,
      todo: "Does it run there, and may this console reach its address? On its machine, see:", command: "fairlead-proxy --config proxy.json --check" });
  }
  if (p.settings && ["refused", "rolled back"].includes(p.settings.state)) {
    found.push({ key: `${p.id} settings`, kind: "settings", tone: p.settings.state, rank: BROKEN, since: null, link, text: `Settings of proxy ${p.name} were ${p.settings.state}: ${p.settings.error ?? ""}`,
      todo: "The former ones hold. Correct what the reason names, and apply again." });
  }
  if (p.draining) {
    found.push({ key: `${p.id} drain`, kind: "draining", tone: "draining", rank: ODD, since: null, link, text: `Proxy ${p.name} is draining: its agents use others`, todo: "Resume it when its maintenance is over." });
  }
  return found;
}

function ofJob(j: Job): Matter[] {
  const link = href("jobs", j.id), failed = j.run?.files_failed ?? 0;
  if (j.state === "failed") {
    return [{ key: j.id, kind: "failed", tone: j.state, rank: BROKEN, since: j.run?.ended ?? null, link, text: `Job ${j.name} failed${failed ? `: ${count(failed, "file was", "files were")} not done` : ""}`,
      todo: "Its page says why; a retry moves only what is missing." }];
  }
  if (j.state === "partial") {
    return [{ key: j.id, kind: "partial", tone: j.state, rank: ODD, since: j.run?.ended ?? null, link, text: `Job ${j.name}: ${count(failed, "file was", "files were")} not done`,
      todo: "Its page lists them with the reasons; correct those, then retry." }];
  }
  const waits = j.state === "running" ? flows.value.find((f) => f.job === j.id && f.text && f.speed === 0) : undefined;
  return waits ? [{ key: `${j.id} waits`, kind: "waits", tone: "waiting", rank: ODD, since: j.run?.started ?? null, link, text: `Job ${j.name}: ${waits.text}`,
    todo: "It goes on by itself once that is over." }] : [];
}

function ofAgent(a: Agent): Matter[] {
  const link = href("agents", a.id);
  if (a.state === "pending") {
    return [{ key: a.id, kind: "pending", tone: "pending", rank: WAITS, since: a.first_seen, link, text: `Agent ${a.name} asks to be let in`, todo: "Do you know this machine? Approve it on its page, or revoke it." }];
  }
  if (a.state !== "offline") return [];
  const ends = a.expires && Date.parse(a.expires) < Date.now() + SOON_MS;
  return [ends ? { key: a.id, kind: "expires", tone: "warn", rank: ODD, since: a.last_seen, link, text: `Agent ${a.name} is away, and its certificate ends ${a.expires!.slice(0, 10)}`,
    todo: "Let it come before that day; afterwards it has to enrol anew." }
    : { key: a.id, kind: "away", tone: "offline", rank: ODD, since: a.last_seen, link, text: `Agent ${a.name} is away`, todo: "Is its machine on, and does fairlead-agent run there? What is ordered waits for it." }];
}

const age = (m: Matter) => (m.since ? Date.parse(m.since) : Date.now());

export function matters(): Matter[] {
  const all = [...proxies.value.flatMap(ofProxy), ...jobs.value.flatMap(ofJob), ...agents.value.flatMap(ofAgent)];
  return all.sort((a, b) => a.rank - b.rank || age(a) - age(b) || a.text.localeCompare(b.text));
}

/** The same, but many of a kind as one, at the place of the first of them. */
export function gathered(all: Matter[]): Matter[] {
  const sizes = new Map<Kind, number>();
  for (const matter of all) sizes.set(matter.kind, (sizes.get(matter.kind) ?? 0) + 1);
  const seen = new Set<Kind>();
  return all.flatMap((matter) => {
    const n = sizes.get(matter.kind)!;
    if (n <= ALONE_MOST) return [matter];
    if (seen.has(matter.kind)) return [];
    seen.add(matter.kind);
    return [{ ...matter, key: matter.kind, text: `${n.toLocaleString("en")} ${MANY[matter.kind]}`, link: href("attention") }];
  });
}
