// The console's live stream (server-sent events, WHATWG HTML 9.2), read by fetch and not by EventSource: so the page sees at once that it is
// lost, and why; notices one that has fallen silent; and decides itself when to try again, from the latest event that it has seen.
import { signal } from "@preact/signals";
import { findSession, reachable, session } from "./api";

export type StreamState = "off" | "opening" | "open" | "lost";
export interface Stream { state: StreamState; since: number; reason: string; again: number }

/** How it is; @since and @again (when it is tried again) in milliseconds. */
export const stream = signal<Stream>({ state: "off", since: Date.now(), reason: "", again: 0 });
/** Rises when the stream is back after a loss, or has missed something: what was fetched before may be old. */
export const epoch = signal(0);

const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 30000;
const STEADY_MS = 10000; // a stream that lasted so long was none that fails at once
const SILENT_MS = 40000; // the console says something each 15 s

export interface Message { event: string; id: string; data: string }

/** Reads lines into messages; a piece of the stream may end anywhere. */
export function parser(take: (message: Message) => void): (text: string) => void {
  let rest = "", message: Message = { event: "message", id: "", data: "" };
  const line = (text: string) => {
    if (!text) {
      if (message.data) take(message);
      message = { event: "message", id: "", data: "" };
      return;
    }
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(text) ?? [];
    if (name === "event" || name === "id") message[name] = value;
    else if (name === "data") message.data += (message.data && "\n") + value;
  };
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach((one) => line(one.replace(/\r$/, "")));
  };
}

let last = ""; // id of the latest event seen
let current: AbortController | null = null;
let attempt: AbortController | null = null; // its connection of now
let wake: (() => void) | null = null;

function set(state: StreamState, reason = "", again = 0): void {
  const before = stream.value;
  stream.value = { state, reason, again, since: before.state === state ? before.since : Date.now() };
}

/** Try now, instead of when it is due. */
export const hurry = () => wake?.();

const pause = (ms: number) => new Promise<void>((done) => {
  const timer = window.setTimeout(done, ms);
  wake = () => {
    window.clearTimeout(timer);
    done();
  };
});

async function read(body: ReadableStream<Uint8Array>, controller: AbortController, take: (message: Message) => void): Promise<void> {
  const reader = body.getReader(), text = new TextDecoder(), feed = parser(take);
  let timer = 0;
  const alive = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => controller.abort("it has fallen silent"), SILENT_MS);
  };
  try {
    for (;;) {
      alive();
      const { done, value } = await reader.read();
      if (done) return;
      feed(text.decode(value, { stream: true }));
    }
  } finally {
    window.clearTimeout(timer);
  }
}

/** One connection, up to its end. Returns why it ended; null: nobody is logged in any more. */
async function once(controller: AbortController, take: (message: Message) => void): Promise<string | null> {
  let response: Response;
  try {
    response = await fetch("/api/v1/events", {
      headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) }, credentials: "same-origin", cache: "no-store", signal: controller.signal,
    });
  } catch {
    reachable.value = false;
    return "the console does not answer";
  }
  reachable.value = true;
  if (response.status === 401) return null;
  if (!response.ok || !response.body) return ((await response.json().catch(() => ({}))) as { detail?: string }).detail ?? `the console answered ${response.status}`;
  const back = stream.value.state === "lost";
  if (back) await findSession(); // a console that was started again gives the session another second value
  if (!session.value) return null;
  set("open");
  if (back) epoch.value++;
  try {
    await read(response.body, controller, take);
  } catch {
    if (controller.signal.aborted && typeof controller.signal.reason === "string") return controller.signal.reason;
    reachable.value = false;
    return "the console does not answer";
  }
  return "the console has ended the connection";
}

async function keep(controller: AbortController, take: (message: Message) => void): Promise<void> {
  let wait = FIRST_WAIT_MS;
  while (current === controller) {
    const started = Date.now();
    const connection = attempt = new AbortController();
    const abort = () => connection.abort();
    controller.signal.addEventListener("abort", abort);
    const why = await once(connection, take);
    controller.signal.removeEventListener("abort", abort);
    if (current !== controller) return;
    if (why === null) {
      session.value = null;
      return;
    }
    if (Date.now() - started > STEADY_MS) wait = FIRST_WAIT_MS;
    const delay = wait * (0.75 + Math.random() / 2); // not all browsers of a console at the same moment
    set("lost", why, Date.now() + delay);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    await pause(delay);
  }
}

/** Follow from event @from on until closeStream(). @take is called for each event, @changed for what is to be fetched again. */
export function openStream(from: number, take: (data: string) => void, changed: (what: string) => void): void {
  closeStream();
  last = from >= 0 ? String(from) : "";
  const controller = current = new AbortController();
  set("opening");
  void keep(controller, (message) => {
    if (message.id) last = message.id;
    if (message.event === "event") take(message.data);
    else if (message.event === "change") changed((JSON.parse(message.data) as { what: string }).what);
    else if (message.event === "missed") epoch.value++;
  });
}

export function closeStream(): void {
  const controller = current;
  current = null;
  controller?.abort();
  wake?.();
  set("off");
}

window.addEventListener("online", hurry);
// What goes on without a network, as to a console on this machine, is opened again at once; the rest would fall silent only after a while.
window.addEventListener("offline", () => attempt?.abort("this computer is offline"));
document.addEventListener("visibilitychange", () => document.hidden || hurry());
