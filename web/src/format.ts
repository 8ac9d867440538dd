// Numbers and times for people.

const BYTES = ["B", "KB", "MB", "GB", "TB", "PB"];
const BITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];

/** Three digits or so, and the unit of @units, each a thousand of the one before, that suits. */
function scaled(n: number, units: string[]): string {
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export const bytes = (n: number) => scaled(n, BYTES);

/** Bytes per second as bits per second, which is what lines are sold in. */
export const rate = (bytesPerSecond: number) => scaled(bytesPerSecond * 8, BITS);

export function count(n: number): string {
  return n.toLocaleString("en");
}

export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function ago(iso: string | null): string {
  if (!iso) return "never";
  const s = (Date.now() - Date.parse(iso)) / 1000;
  if (s < 5) return "now";
  if (s >= 2 * 86400) return `${Math.floor(s / 86400)} days ago`;
  return `${s >= 60 && s < 3600 ? `${Math.floor(s / 60)} min` : duration(s)} ago`;
}

export function clock(iso: string | null): string {
  if (!iso) return "–";
  const d = new Date(iso);
  const today = new Date().toDateString() === d.toDateString();
  const time = clockAt(d.getTime() / 1000);
  return today ? time : `${d.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" })} ${time}`;
}

/** The time of day of a moment in seconds since 1970. */
export const clockAt = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** How long what is shown lasts: "the latest 12 min". @times: seconds since 1970, oldest first. */
export function spanOf(times: number[]): string {
  const seconds = times.length ? times[times.length - 1] - times[0] : 0;
  return seconds < 90 ? "the latest minute" : seconds < 3500 ? `the latest ${Math.round(seconds / 60)} min` : "the latest hour";
}

export function rtt(us: number): string {
  if (!us) return "–";
  return us < 10000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us / 1000)} ms`;
}

/** Of one core or of a whole. */
export const percents = (n: number) => `${n.toFixed(n < 10 ? 1 : 0)} %`;

export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, (100 * part) / whole) : 0;
}

/** "fairlead-agent 0.1.0": the number alone, whoever tells it. */
export function version(software: string | undefined): string {
  return software?.replace(/^fairlead(-\w+)? /, "") || "–";
}

/** "direct tcp", "direct udp, punched", "proxy NAME tcp": what carries a tunnel, over which proxy, and what else is said of it. */
export function pathOf(text: string): { proxy?: string; transport: string; more: string } {
  const [, proxy, transport = "", more = ""] = /^(?:direct|proxy (.+)) (\w+)(, .+)?$/.exec(text) ?? [];
  return { proxy, transport, more };
}

export function shortId(id: string): string {
  return id.slice(0, 8);
}
