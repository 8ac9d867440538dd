// What the console's REST API answers with; docs/REST.md describes it.

export interface Problem { title: string; status: number; detail: string; field?: string }

export interface Session { user: string; role: Role; csrf: string; must_change_password: boolean; totp: boolean }
export type Role = "admin" | "operator" | "viewer";

export interface Status {
  version: string; uptime: number; console_id: string; fingerprint: string;
  agents: { total: number; online: number; pending: number };
  proxies: { total: number; connected: number };
  jobs: { total: number };
  runs: { active: number };
}

export interface ProxyReport {
  endpoints: number; sessions: number; sessions_total: number; bytes: number;
  refused: number; accepted: number; memory: number; uptime: number;
  reasons: Record<string, number>;
  cpu_us?: number; cpu_percent?: number; software?: string; // not of older proxies
}

export interface Sample {
  time: string; sessions: number; sessions_total: number; bytes: number; refused: number; uptime: number; memory: number; cpu_us: number; reasons: Record<string, number>;
}

/** Bytes a second, every ten seconds. */
export interface Throughput { time: string; rate: number }
export interface AgentThroughput { time: string; sent: number; received: number }

/** Of a proxy or an agent. */
export interface Settings {
  wanted: Json; version: number; state: string; error?: string;
  effective?: Json; tried?: Json;
}

/** As /agent-settings tells it. */
export interface SettingsOfAgent { id: string; name: string; tags: string[]; state: string; settings: Settings; problem?: string }

export interface Proxy {
  id: string; name: string; addresses: string[]; listen: string[];
  state: "connected" | "connecting" | "unreachable"; since: string | null; rtt_us: number;
  error?: string; report?: ProxyReport; settings?: Settings; draining?: boolean;
  weight: number; agents?: Party[]; syncthing_allow?: string[];
}

export interface Agent {
  id: string; name: string; tags: string[];
  state: "online" | "offline" | "pending" | "revoked"; path: string;
  software: string; system: string; addresses: string[];
  first_seen: string | null; last_seen: string | null; expires: string | null;
  settings?: Settings; // of one that was asked for alone
  punches?: Punches; // the same, once it has told
}

/** Holes that an agent has tried to punch since it started, and why that was in vain, by name. */
export interface Punches { since: string; tried: number; through: number; vain: Record<string, number> }

export interface Counters {
  files_total: number; files_done: number; files_failed: number; files_same: number;
  bytes_total: number; bytes_done: number; bytes_moved: number; micros: number; list_complete: boolean;
}

export interface Party { id: string; name: string }

/** Of a forward, whose other counters mean nothing. */
export interface Connections { open: number; total: number; refused: number; bytes_up: number; bytes_down: number }

export interface Flow extends Counters {
  id: string; source: Party; target: Party; source_path: string; target_path: string; subfolder: string;
  state: string; path: string; text: string; speed: number; raw: boolean; connections?: Connections; files?: FlowFile[]; files_open?: number;
}

/** A file on its way in; of a name that is @cut its end. */
export interface FlowFile { name: string; cut: boolean; size: number; done: number; speed: number }

/** One way of a flow under way: a direct one or a proxy's, and what was tried in vain, with the reason. Of a forward also its connections: new ones take the newest. */
export interface Tunnel {
  run: string | null; flow: string; source: Party; target: Party; via: string; state: string; relayed: boolean; raw: boolean;
  since: string | null; rate: number; bytes: number; rtt_us: number; text: string; newest?: boolean; connections?: number;
}

/** A flow under way, as /flows tells it. */
export interface ActiveFlow extends Flow { job: string; job_name: string }

export interface Run extends Counters {
  id: string; job: string; number: number; state: RunState; started: string | null; ended: string | null;
  speed: number; flows: Flow[];
}
export type RunState = "waiting" | "running" | "paused" | "done" | "partial" | "failed" | "stopped";

export interface Job {
  id: string; name: string; kind: string; from: string[]; to: string[];
  state: RunState | "held"; created: string | null; run: Run | null;
}

export interface RunError { n: number; flow: string; source: string; target: string; name: string; code: string; text: string }

export interface Event { n: number; time: string; level: string; kind: string; text: string; subject?: string; job?: string }

export interface List<T> { items: T[]; last?: number; next?: number | null }

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
