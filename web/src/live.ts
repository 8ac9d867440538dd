// What is shown, kept fresh: the console's stream of changes says what to fetch again; where it cannot be had, a slow poll does.
import { computed, effect, signal } from "@preact/signals";
import { get, items, reachable, reasonOf, session } from "./api";
import { closeStream, epoch, openStream, stream } from "./stream";
import type { ActiveFlow, Agent, Event, Job, List, Proxy, Status, Throughput } from "./types";
import { toast } from "./ui/toast";

export const status = signal<Status | null>(null);
export const proxies = signal<Proxy[]>([]);
export const agents = signal<Agent[]>([]);
export const jobs = signal<Job[]>([]);
/** Flows under way, the fastest first, as many as can be shown. */
export const flows = signal<ActiveFlow[]>([]);
export const events = signal<Event[]>([]);
/** Bytes per second that all runs moved and move, over an hour: [seconds since 1970, speed], oldest first. */
export const throughput = computed<[number, number][]>(() => {
  const kept = past.value, last = kept.length ? kept[kept.length - 1][0] : 0;
  return [...kept, ...fresh.value.filter(([time]) => time > last)];
});
/** As the console has kept it, and what was seen since. */
const past = signal<[number, number][]>([]);
const fresh = signal<[number, number][]>([]);
export const loaded = signal(false);

const SAMPLE_MS = 2000;
const SAMPLES = 60;
const EVENTS = 300;
const FRESH_MS = 60000;
const GATHER_MS = 250;
const LARGE = 500;
const GATHER_LARGE_MS = 3000;

const loaders = {
  status: async () => void (status.value = await get<Status>("/status")),
  proxies: async () => void (proxies.value = await items<Proxy>("/proxies")),
  agents: async () => void (agents.value = await items<Agent>("/agents")),
  jobs: async () => void (jobs.value = await items<Job>("/jobs?flows=1")),
  past: async () => void (past.value = (await items<Throughput>("/throughput")).map((t) => [Date.parse(t.time) / 1000, t.rate])),
  flows: async () => void (flows.value = await items<ActiveFlow>("/flows?limit=100")),
};
export type SharedName = keyof typeof loaders;

/** Of each name above: has it come at least once, and why the latest try failed ("": it did not). */
export const there = signal<Partial<Record<SharedName, boolean>>>({});
export const problems = signal<Partial<Record<SharedName, string>>>({});

/** Without these a page cannot say that something is not there. */
const WHOLE: SharedName[] = ["proxies", "agents", "jobs"];

async function fetchOne(name: SharedName): Promise<void> {
  try {
    await loaders[name]();
    if (!there.value[name]) there.value = { ...there.value, [name]: true };
    if (problems.value[name]) problems.value = { ...problems.value, [name]: "" };
  } catch (error) {
    problems.value = { ...problems.value, [name]: reasonOf(error) };
  }
}

const due = new Set<SharedName>();
let gathering: number | undefined;

async function fetchDue(): Promise<void> {
  gathering = undefined;
  const names = [...due];
  due.clear();
  await Promise.all(names.map(fetchOne));
  if (WHOLE.every((name) => there.value[name])) loaded.value = true;
}

/** Have @names fetched soon; several calls within a moment become one. */
export function refresh(...names: string[]): void {
  for (const name of names) if (name in loaders) due.add(name as SharedName);
  // Large lists are not fetched again at each of many changes.
  gathering ??= window.setTimeout(fetchDue, !loaded.value ? 0 : agents.value.length > LARGE ? GATHER_LARGE_MS : GATHER_MS);
}

export const refreshAll = () => refresh(...Object.keys(loaders));

function takeEvent(event: Event): void {
  const list = events.value;
  if (list.length && list[list.length - 1].n >= event.n) return;
  events.value = [...list, event].slice(-EVENTS);
  // Told to who looks, and read aloud; not what happened long ago and was missed.
  if (event.kind === "run.finished" && Date.now() - Date.parse(event.time) < FRESH_MS) toast(event.text, event.level === "info" ? "good" : "bad");
}

function sample(): void {
  const speed = jobs.value.reduce((sum, job) => sum + (job.run && job.state === "running" ? job.run.speed : 0), 0);
  fresh.value = [...fresh.value, [Date.now() / 1000, speed] as [number, number]].slice(-SAMPLES);
}

function tick(): void {
  if (!worthAsking()) return;
  if (jobs.value.some((job) => job.state === "running" || job.state === "waiting")) refresh("jobs", "flows");
  else if (flows.value.length) refresh("flows");
  sample();
}

function changed(what: string): void {
  refresh(what, "status", ...(what === "jobs" ? ["flows"] : []));
}

/** The latest events. Returns the number of the last one; -1: they could not be had. */
async function fetchEvents(): Promise<number> {
  try {
    const answer = await get<List<Event>>("/events?order=newest&limit=100");
    events.value = answer.items.reverse();
    return answer.last ?? -1;
  } catch {
    return -1;
  }
}

/** Follows from the latest event on; where that is not known, from where the stream begins. */
async function listen(): Promise<void> {
  const began = started;
  const from = await fetchEvents();
  if (began === started) openStream(from, (data) => takeEvent(JSON.parse(data) as Event), changed);
}

/** Not while nobody looks, nor while the console is known to be away: the stream finds out when it is back. */
const worthAsking = () => session.value && !document.hidden && (reachable.value || stream.value.state !== "lost");

let started = 0; // which start() it was
let seenEpoch = 0;
effect(() => {
  if (epoch.value === seenEpoch) return;
  seenEpoch = epoch.value;
  refreshAll();
  void fetchEvents();
});

let timers: number[] = [];

export function start(): void {
  stop();
  started++;
  refreshAll();
  void listen();
  timers = [
    window.setInterval(tick, SAMPLE_MS),
    window.setInterval(() => worthAsking() && refresh("proxies", "status"), 5000),
    window.setInterval(() => worthAsking() && refreshAll(), 30000),
  ];
}

export function stop(): void {
  timers.forEach((timer) => window.clearInterval(timer));
  timers = [];
  started++;
  closeStream();
}
