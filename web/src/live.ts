// What is shown, kept fresh: the console's stream of changes says what to fetch again; where it cannot be had, a slow poll does.
import { computed, signal } from "@preact/signals";
import { get, items, session } from "./api";
import type { ActiveFlow, Agent, Event, Job, Proxy, Status, Throughput } from "./types";

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
const GATHER_MS = 250;
const LARGE = 500;
const GATHER_LARGE_MS = 3000;

const loaders: Record<string, () => Promise<void>> = {
  status: async () => void (status.value = await get<Status>("/status")),
  proxies: async () => void (proxies.value = await items<Proxy>("/proxies")),
  agents: async () => void (agents.value = await items<Agent>("/agents")),
  jobs: async () => void (jobs.value = await items<Job>("/jobs?flows=1")),
  past: async () => void (past.value = (await items<Throughput>("/throughput")).map((t) => [Date.parse(t.time) / 1000, t.rate])),
  flows: async () => void (flows.value = await items<ActiveFlow>("/flows?limit=100")),
};

const due = new Set<string>();
let gathering: number | undefined;

async function fetchDue(): Promise<void> {
  gathering = undefined;
  const names = [...due];
  due.clear();
  await Promise.allSettled(names.map((name) => loaders[name]()));
  loaded.value = true;
}

/** Have @names fetched soon; several calls within a moment become one. */
export function refresh(...names: string[]): void {
  for (const name of names) if (name in loaders) due.add(name);
  // Large lists are not fetched again at each of many changes.
  gathering ??= window.setTimeout(fetchDue, !loaded.value ? 0 : agents.value.length > LARGE ? GATHER_LARGE_MS : GATHER_MS);
}

export const refreshAll = () => refresh(...Object.keys(loaders));

function takeEvent(event: Event): void {
  const list = events.value;
  if (list.length && list[list.length - 1].n >= event.n) return;
  events.value = [...list, event].slice(-EVENTS);
}

async function fetchEvents(): Promise<void> {
  const after = events.value.length ? events.value[events.value.length - 1].n : -1;
  const query = after < 0 ? "latest=100" : `after=${after}`;
  for (const event of await items<Event>(`/events?${query}`)) takeEvent(event);
}

function sample(): void {
  const speed = jobs.value.reduce((sum, job) => sum + (job.run && job.state === "running" ? job.run.speed : 0), 0);
  fresh.value = [...fresh.value, [Date.now() / 1000, speed] as [number, number]].slice(-SAMPLES);
}

function tick(): void {
  if (!session.value || document.hidden) return;
  if (jobs.value.some((job) => job.state === "running" || job.state === "waiting")) refresh("jobs", "flows");
  else if (flows.value.length) refresh("flows");
  sample();
}

let source: EventSource | null = null;

function listen(): void {
  source?.close();
  source = new EventSource("/api/v1/events");
  source.addEventListener("event", (message) => takeEvent(JSON.parse((message as MessageEvent<string>).data) as Event));
  source.addEventListener("change", (message) => {
    const { what } = JSON.parse((message as MessageEvent<string>).data) as { what: string };
    refresh(what, "status", ...(what === "jobs" ? ["flows"] : []));
  });
}

let timers: number[] = [];

export function start(): void {
  stop();
  refreshAll();
  fetchEvents().then(listen, () => undefined);
  timers = [
    window.setInterval(tick, SAMPLE_MS),
    window.setInterval(() => document.hidden || refresh("proxies", "status"), 5000),
    window.setInterval(() => document.hidden || refreshAll(), 30000),
  ];
}

export function stop(): void {
  timers.forEach((timer) => window.clearInterval(timer));
  timers = [];
  source?.close();
  source = null;
}
