// Settings of a proxy or an agent that change while it runs: a form from a table.
import { useState } from "preact/hooks";
import { Choice, Form, Text } from "../ui/parts";
import type { Json } from "../types";

export interface Key { path: string; label: string; hint: string; choices?: string[]; text?: boolean }

export const PROXY_KEYS: Key[] = [
  { path: "limits.rate_proxy", label: "Rate of the proxy", hint: "KiB/s for all sessions together; empty: as in its file" },
  { path: "limits.rate_agent", label: "Rate of one agent", hint: "KiB/s over all its sessions" },
  { path: "limits.rate_session", label: "Rate of one session", hint: "KiB/s" },
  { path: "limits.volume_agent_day", label: "Volume of one agent a day", hint: "MiB" },
  { path: "limits.sessions", label: "Sessions", hint: "all, offered ones included" },
  { path: "limits.sessions_per_agent", label: "Sessions of one agent", hint: "on either side" },
  { path: "limits.idle_seconds", label: "Idle time", hint: "seconds without a byte after which a session ends; 0: never" },
  { path: "limits.stall_seconds", label: "Stall time", hint: "seconds in which a receiver takes nothing; 0: never" },
  { path: "limits.schedule", label: "Schedule", hint: "e.g. mon-fri 08:00-18:00 rate_proxy=10240; several with semicolons", text: true },
  { path: "raw", label: "Raw sessions", hint: "may sessions leave the outer TLS once they are encrypted end to end", choices: ["never", "allowed", "required"] },
];

export const AGENT_KEYS: Key[] = [
  { path: "rate_limit_upload", label: "Sends at most", hint: "KiB/s over all its transfers and forwarded ports; 0: no limit" },
  { path: "rate_limit_download", label: "Receives at most", hint: "KiB/s, the same" },
  { path: "rate_limit_schedule", label: "Schedule", hint: "e.g. mon-fri 08:00-18:00 rate_limit_upload=1024; by its own clock; several with semicolons", text: true },
  { path: "prefer", label: "Proxies to use first", hint: "names, in this order, with semicolons; then the others", text: true },
];

type Object_ = { [key: string]: Json };
export type Settings = Record<string, string>;

const isObject = (json: Json | undefined): json is Object_ => typeof json === "object" && json !== null && !Array.isArray(json);

function textOf(json: Json | undefined): string {
  if (json === undefined || json === null) return "";
  return Array.isArray(json) ? json.map(textOf).join("; ") : String(json as string | number | boolean);
}

/** The nested JSON as a flat table of texts. */
export function settingsOf(json: Json, prefix = ""): Settings {
  const flat: Settings = {};
  if (!isObject(json)) return flat;
  for (const [name, value] of Object.entries(json)) {
    if (isObject(value)) Object.assign(flat, settingsOf(value, `${prefix}${name}.`));
    else flat[prefix + name] = textOf(value);
  }
  return flat;
}

function valueOf(key: Key | undefined, text: string): Json {
  if (key?.text) return text.split(";").map((t) => t.trim()).filter(Boolean);
  return key?.choices || !/^\d+$/.test(text) ? text : Number(text);
}

export function jsonOf(settings: Settings, keys: Key[]): Object_ {
  const json: Object_ = {};
  for (const [path, text] of Object.entries(settings)) {
    if (text === "") continue;
    const parts = path.split(".");
    const last = parts.pop()!;
    let at = json;
    for (const part of parts) at = (isObject(at[part]) ? at[part] : (at[part] = {})) as Object_;
    at[last] = valueOf(keys.find((k) => k.path === path), text);
  }
  return json;
}

export function SettingsForm({ keys, wanted, save, disabled, error }: { keys: Key[]; wanted: Settings; save: (wanted: Object_) => Promise<void>; disabled: boolean; error?: string }) {
  const [changed, setChanged] = useState<Settings>({});
  const now = { ...wanted, ...changed };
  const set = (path: string) => (value: string) => setChanged({ ...changed, [path]: value });
  return (
    <fieldset disabled={disabled} class="bare">
      {error && <p class="error" role="alert">{error}</p>}
      <Form button="Apply" submit={async () => { await save(jsonOf(now, keys)); setChanged({}); }}>
        {(wrong) => (
          <div class="grid">
            {keys.map((k) => k.choices ? (
              <Choice key={k.path} label={k.label} hint={k.hint} value={now[k.path] ?? ""} set={set(k.path)} error={wrong(k.path)} of={[["", "as in its file"], ...k.choices.map((c): [string, string] => [c, c])]} />
            ) : (
              <Text key={k.path} label={k.label} hint={k.hint} value={now[k.path] ?? ""} set={set(k.path)} error={wrong(k.path)} placeholder="as in its file" />
            ))}
          </div>
        )}
      </Form>
    </fieldset>
  );
}
