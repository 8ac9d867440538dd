// Settings of a proxy or an agent that change while it runs: a form made from the programs' own tables of keys (scripts/settings-keys).
import { useState } from "preact/hooks";
import tables from "../settings.json";
import { agents } from "../live";
import { Area, Choice, Field, Form, Text } from "../ui/parts";
import type { Json } from "../types";

interface Key { path: string; type: string; help: string; default?: string; choices?: string[] }
export type Kind = keyof typeof tables;

/** What people call them; a key without a name here is called as in its file. */
const LABELS: Record<string, string> = {
  raw: "Raw sessions", agents: "Allowed agents",
  "limits.rate_proxy": "Rate of the proxy", "limits.rate_agent": "Rate of one agent", "limits.rate_session": "Rate of one session",
  "limits.volume_agent_day": "Volume of one agent a day", "limits.schedule": "Schedule", "limits.endpoints": "Endpoints", "limits.sessions": "Sessions",
  "limits.sessions_per_agent": "Sessions of one agent", "limits.legs_agent": "Connections of one agent", "limits.handshakes": "Unproved connections",
  "limits.handshakes_per_address": "Unproved, of one address", "limits.handshakes_per_network": "Unproved, of one network",
  "limits.idle_seconds": "Idle time", "limits.stall_seconds": "Stall time",
  "syncthing.allow": "Syncthing devices", "drain.on": "Drain", "drain.within_seconds": "Agents leave within", "drain.hard_stop_seconds": "Hard stop after",
  "drain.away_seconds": "Agents stay away", "drain.alternates": "Other proxies", "log.level": "Log level",
  rate_limit_upload: "Sends at most", rate_limit_download: "Receives at most", rate_limit_schedule: "Schedule", prefer: "Proxies to use first",
};

/** Parts of the form, by how their keys begin; what fits none comes last. The first is open. */
const PARTS: Record<Kind, [string, string[]][]> = {
  proxy: [["Rates and volume", ["limits.rate_", "limits.volume_", "limits.schedule"]], ["Who may use it, and how", ["agents", "syncthing.", "raw"]],
    ["Counts and times", ["limits."]], ["Drain", ["drain."]], ["Log", ["log."]]],
  agent: [["Rates and proxies", ["rate_", "prefer"]]],
};

/** "Idle time" in seconds, "Rate of one agent" in KiB/s: what the number counts. */
function unitOf(key: Key): string | undefined {
  if (key.type === "KiB/s") return "KiB/s";
  return key.path.endsWith("_seconds") ? "seconds" : /^(KiB\/s|MiB)\b/.exec(key.help)?.[1];
}

function labelOf(key: Key): string {
  const unit = unitOf(key);
  return `${LABELS[key.path] ?? key.path}${unit ? ` (${unit})` : ""}`;
}

const said = (value: string) => (value === "true" ? "yes" : value === "false" ? "no" : value);

const hintOf = (key: Key) => `${key.help.charAt(0).toUpperCase()}${key.help.slice(1)}${key.default ? `. Default: ${said(key.default)}` : ""}`;

function partsOf(kind: Kind): [string, Key[]][] {
  let rest: Key[] = tables[kind];
  const found = PARTS[kind].map(([title, starts]): [string, Key[]] => {
    const mine = rest.filter((k) => starts.some((s) => k.path.startsWith(s)));
    rest = rest.filter((k) => !mine.includes(k));
    return [title, mine];
  });
  return rest.length ? [...found, ["More", rest]] : found;
}

// ---- values ----

type Object_ = { [key: string]: Json };
/** By dotted path; a list is lines. */
export type Settings = Record<string, string>;

const isObject = (json: Json | undefined): json is Object_ => typeof json === "object" && json !== null && !Array.isArray(json);

function textOf(json: Json | undefined): string {
  if (json === undefined || json === null) return "";
  return Array.isArray(json) ? json.map(textOf).join("\n") : String(json as string | number | boolean);
}

/** The nested JSON as a flat table of texts. */
export function settingsOf(json: Json | undefined, prefix = ""): Settings {
  const flat: Settings = {};
  if (!isObject(json)) return flat;
  for (const [name, value] of Object.entries(json)) {
    if (isObject(value)) Object.assign(flat, settingsOf(value, `${prefix}${name}.`));
    else flat[prefix + name] = textOf(value);
  }
  return flat;
}

const linesOf = (text: string) => text.split("\n").map((t) => t.trim()).filter(Boolean);

function valueOf(key: Key | undefined, text: string): Json {
  if (key?.type === "list") return linesOf(text);
  if (key?.type === "true|false") return text === "true" ? true : text === "false" ? false : text;
  return key?.choices || !/^\d+$/.test(text) ? text : Number(text);
}

/** What is empty is left out. */
export function jsonOf(settings: Settings, kind: Kind): Object_ {
  const json: Object_ = {};
  for (const [path, text] of Object.entries(settings)) {
    if (text.trim() === "") continue;
    const parts = path.split(".");
    const last = parts.pop()!;
    let at = json;
    for (const part of parts) at = (isObject(at[part]) ? at[part] : (at[part] = {})) as Object_;
    at[last] = valueOf((tables[kind] as Key[]).find((k) => k.path === path), text);
  }
  return json;
}

// ---- fields ----

const MATCHES = 50;

/** Agents by name, each to be taken away again; the value is their ids. */
function Names({ label, hint, error, value, set, placeholder }: { label: string; hint: string; error?: string; value: string; set: (value: string) => void; placeholder: string }) {
  const [text, setText] = useState("");
  const ids = linesOf(value);
  const nameOf = (id: string) => agents.value.find((a) => a.id === id)?.name ?? id.slice(0, 8);
  const open = agents.value.filter((a) => a.state !== "revoked" && !ids.includes(a.id));
  const take = (name: string) => {
    const agent = open.find((a) => a.name === name);
    setText(agent ? "" : name);
    if (agent) set([...ids, agent.id].join("\n"));
  };
  return (
    <Field label={label} hint={hint} error={error}>
      {(id, described) => (
        <>
          {ids.length > 0 && <p class="chips">{ids.map((i) => <button type="button" key={i} aria-label={`Take ${nameOf(i)} away`} onClick={() => set(ids.filter((o) => o !== i).join("\n"))}>{nameOf(i)} ✕</button>)}</p>}
          <input id={id} value={text} list={`${id}-names`} placeholder={ids.length ? "one more" : placeholder} aria-describedby={described} autocomplete="off" spellcheck={false} onInput={(e) => take(e.currentTarget.value)} />
          <datalist id={`${id}-names`}>{open.filter((a) => a.name.toLowerCase().includes(text.toLowerCase())).slice(0, MATCHES).map((a) => <option value={a.name} key={a.id} />)}</datalist>
        </>
      )}
    </Field>
  );
}

function KeyField({ of: key, value, set, error, now, unset }: { of: Key; value: string; set: (value: string) => void; error?: string; now?: string; unset: string }) {
  const placeholder = now ? `${said(now).split("\n").join("; ")} (${unset})` : unset;
  const common = { label: labelOf(key), hint: hintOf(key), value, set, error };
  if (key.path === "agents") return <Names {...common} hint="By name. The others lose their connections through this proxy at once. Default: all" placeholder={unset} />;
  if (key.choices || key.type === "true|false") {
    const words = key.choices ?? ["true", "false"];
    return <Choice {...common} of={[["", placeholder], ...words.map((w): [string, string] => [w, said(w)])]} />;
  }
  return key.type === "list" ? <Area {...common} hint={`${common.hint}. One a line.`} placeholder={placeholder} /> : <Text {...common} placeholder={placeholder} />;
}

/** @unset: what an empty field means. @now: what holds at present. @error: of a field. */
export function KeyFields({ kind, values, set, error, now, unset }: {
  kind: Kind; values: Settings; set: (path: string) => (value: string) => void; error: (path: string) => string | undefined; now: Settings; unset: string;
}) {
  return (
    <>
      {partsOf(kind).map(([title, keys], i) => (
        <details key={title} class="part" open={i === 0 || keys.some((k) => values[k.path] || error(k.path))}>
          <summary>{title}</summary>
          <div class="grid">{keys.map((k) => <KeyField key={k.path} of={k} value={values[k.path] ?? ""} set={set(k.path)} error={error(k.path)} now={values[k.path] ? undefined : now[k.path]} unset={unset} />)}</div>
        </details>
      ))}
    </>
  );
}

export function SettingsForm({ kind, wanted, effective, save, disabled, error }: {
  kind: Kind; wanted: Json; effective?: Json; save: (wanted: Object_) => Promise<void>; disabled: boolean; error?: string;
}) {
  const [changed, setChanged] = useState<Settings>({});
  const values = { ...settingsOf(wanted), ...changed };
  const set = (path: string) => (value: string) => setChanged({ ...changed, [path]: value });
  return (
    <fieldset disabled={disabled} class="bare">
      {error && <p class="error" role="alert">{error}</p>}
      <Form button="Apply" submit={async () => { await save(jsonOf(values, kind)); setChanged({}); }}>
        {(wrong) => <KeyFields kind={kind} values={values} set={set} error={wrong} now={settingsOf(effective)} unset="as in its file" />}
      </Form>
    </fieldset>
  );
}
