// What happened, and who changed what: found by filters on the server, saved as files.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { items, may } from "../api";
import { agents, jobs, proxies } from "../live";
import { useLog, type Log } from "../log";
import { clock, count } from "../format";
import { href, lookBy, query, queryOf } from "../router";
import { Card, Choice, Empty, Field, PageHead, State, Table, Text, type Column } from "../ui/parts";
import { Failed, Loading, useLoad } from "../ui/load";
import type { Event, Json } from "../types";

interface AuditEntry { n: number; time: string; user: string; from: string; action: string; subject: string; before: Json; after: Json }

const TEXT_LEAST = 3;
const TYPING_MS = 400;

// ---- filters ----

/** One filter more or less; the place in the list begins anew. */
const filter = (name: string) => (value: string) => lookBy({ ...query.value, [name]: value });

/** A text that is taken once nobody has typed for a moment. */
function Typed({ name, label, hint, least, of }: { name: string; label: string; hint?: string; least?: number; of?: string[] }) {
  const set = query.value[name] ?? "";
  const [text, setText] = useState(set);
  useEffect(() => setText(set), [set]);
  useEffect(() => {
    if (text === set || (text && text.length < (least ?? 1))) return;
    const timer = window.setTimeout(() => filter(name)(text), TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [text]);
  if (!of) return <Text label={label} value={text} set={setText} hint={text && least && text.length < least ? `At least ${least} characters.` : hint} />;
  return (
    <Field label={label} hint={hint}>
      {(id, described) => (
        <>
          <input id={id} type="text" list={`${id}-list`} value={text} placeholder="any" aria-describedby={described} autocomplete="off" spellcheck={false} onInput={(e) => setText(e.currentTarget.value)} />
          <datalist id={`${id}-list`}>{of.map((one) => <option value={one} key={one} />)}</datalist>
        </>
      )}
    </Field>
  );
}

/** A moment in local time, kept in UTC. */
function Moment({ name, label }: { name: string; label: string }) {
  const iso = query.value[name] ?? "";
  const local = iso && !Number.isNaN(Date.parse(iso)) ? new Date(Date.parse(iso) - new Date(iso).getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "";
  return (
    <Field label={label}>
      {(id) => <input id={id} type="datetime-local" value={local} onChange={(e) => filter(name)(e.currentTarget.value ? new Date(e.currentTarget.value).toISOString().slice(0, 19) + "Z" : "")} />}
    </Field>
  );
}

function Filters({ names, children }: { names: string[]; children: ComponentChildren }) {
  const set = names.filter((name) => query.value[name]);
  const [open, setOpen] = useState(set.length > 0 || window.innerWidth > 760);
  return (
    <details class="filters" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>Filters{set.length > 0 && `: ${set.length} set`}</summary>
      <div class="grid">{children}</div>
      {set.length > 0 && <button type="button" class="plain" onClick={() => lookBy({})}>Without filters</button>}
    </details>
  );
}

/** Only what a page knows: a link from elsewhere may carry anything. */
const chosen = (names: string[]) => queryOf(Object.fromEntries(names.map((name) => [name, query.value[name] ?? ""])));

function Export({ path, filters }: { path: string; filters: string }) {
  const to = (form: string) => `/api/v1${path}?export=${form}${filters && `&${filters}`}`;
  return <span class="row-actions"><span class="hint">All that fits, as</span> <a class="button" href={to("csv")} download>CSV</a> <a class="button" href={to("json")} download>JSON</a></span>;
}

// ---- the list ----

function LogTable<T extends { n: number }>({ log, what, caption, columns, filtered }: { log: Log<T>; what: string; caption: string; columns: Column<T>[]; filtered: boolean }) {
  const more = log.next !== null;
  if (log.error && !log.rows.length) return <Failed what={what} reason={log.error} again={log.again} />;
  return (
    <>
      {log.rows.length > 0 && <Table caption={caption} rows={log.rows} id={(row) => String(row.n)} columns={columns} all />}
      {log.error && <Failed what={`more of ${what}`} reason={log.error} again={log.more} />}
      {log.busy ? (log.looks > 0 ? <p class="calm" role="status">Looking further back… {count(log.rows.length)} found so far</p> : <Loading what={what} />)
        : log.rows.length === 0 ? <Empty title={filtered ? "Nothing fits these filters" : "Nothing yet"} />
        : more ? <p><button type="button" onClick={log.more}>Older ones</button></p>
        : <p class="hint">These are all.</p>}
    </>
  );
}

const Tabs = ({ audit }: { audit: boolean }) => (
  <div class="tabs" role="group" aria-label="Logs"><a href={href("events")} aria-current={audit ? undefined : "page"}>Events</a><a href={href("events", "audit")} aria-current={audit ? "page" : undefined}>Audit</a></div>
);

// ---- events ----

const EVENT_FILTERS = ["level", "kind", "agent", "proxy", "job", "since", "until", "text"];
const ABOUT = ["agent", "proxy", "job"];

/** Whom an event is about, if it is still there. */
function About({ event }: { event: Event }) {
  const agent = agents.value.find((a) => a.id === event.subject);
  if (agent) return <a href={href("agents", agent.id)}>{agent.name}</a>;
  const proxy = proxies.value.find((p) => p.id === event.subject);
  if (proxy) return <a href={href("proxies", proxy.id)}>{proxy.name}</a>;
  const job = jobs.value.find((j) => j.id === (event.job ?? event.subject));
  if (job) return <a href={href("jobs", job.id, ...(event.job && event.subject ? [event.subject] : []))}>{job.name}</a>;
  return <>–</>;
}

export function Events() {
  const kinds = useLoad(() => items<string>("/events/kinds"), []);
  const filters = chosen(EVENT_FILTERS);
  const log = useLog<Event>("/events", filters);
  const names = (list: { name: string }[]) => list.map((one) => one.name).sort();
  // One of the three at a time: an event is about one thing.
  const [about, setAbout] = useState(() => ABOUT.find((name) => query.value[name]) ?? "agent");
  const choose = (kind: string) => {
    setAbout(kind);
    lookBy({ ...query.value, agent: "", proxy: "", job: "" });
  };
  return (
    <>
      <PageHead title="Events" sub="What happened at the console, its proxies, agents and jobs."><Export path="/events" filters={filters} /></PageHead>
      {may("administer") && <Tabs audit={false} />}
      <Card>
        <Filters names={EVENT_FILTERS}>
          <Choice label="Level" value={query.value.level ?? ""} set={filter("level")} of={[["", "any"], ["error", "error"], ["warn", "warning"], ["info", "info"]]} />
          <Choice label="Kind" value={query.value.kind ?? ""} set={filter("kind")} of={[["", "any"], ...(kinds.data ?? []).map((k): [string, string] => [k, k]), ...(query.value.kind && !kinds.data?.includes(query.value.kind) ? [[query.value.kind, query.value.kind] as [string, string]] : [])]}
            error={kinds.error && `The kinds could not be loaded: ${kinds.error}`} />
          <Choice label="About" value={about} set={choose} of={[["agent", "an agent"], ["proxy", "a proxy"], ["job", "a job"]]} />
          <Typed key={about} name={about} label="Which" of={names(about === "agent" ? agents.value : about === "proxy" ? proxies.value : jobs.value)} />
          <Moment name="since" label="From" />
          <Moment name="until" label="To" />
          <Typed name="text" label="Text" least={TEXT_LEAST} />
        </Filters>
        <LogTable log={log} what="the events" caption="Events" filtered={!!filters} columns={[
          { head: "Time", cell: (e) => clock(e.time), phone: "title" },
          { head: "Level", cell: (e) => <State is={e.level} />, phone: "beside" },
          { head: "What", cell: (e) => e.text, wide: true, phone: "bare" },
          { head: "Kind", cell: (e) => <span class="hint">{e.kind}</span> },
          { head: "About", cell: (e) => <About event={e} /> },
        ]} />
      </Card>
    </>
  );
}

// ---- audit ----

const AUDIT_FILTERS = ["user", "since", "until", "text"];

const short = (json: Json | undefined) => (json === undefined || json === null ? "–" : typeof json === "string" ? json : JSON.stringify(json));
const isObject = (json: Json): json is { [key: string]: Json } => typeof json === "object" && json !== null && !Array.isArray(json);

/** What is another one afterwards, a line each; of what was not there before, or is not any more, all of it behind a click. */
function Change({ entry }: { entry: AuditEntry }) {
  const { before, after } = entry;
  if (before === null && after === null) return <>–</>;
  if (isObject(before) && isObject(after) && !("items" in before)) {
    const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
    if (changed.length) return <ul class="plain-list">{changed.map((key) => <li key={key}><code class="json">{key}: {short(before[key])} → {short(after[key])}</code></li>)}</ul>;
  }
  return (
    <details>
      <summary>{before === null || (isObject(before) && "items" in before) ? "made" : after === null ? "removed" : "as it was and is"}</summary>
      <p><span class="hint">before</span> <code class="json">{short(before)}</code></p>
      <p><span class="hint">after</span> <code class="json">{short(after)}</code></p>
    </details>
  );
}

export function Audit() {
  const users = useLoad(() => items<string>("/audit/users"), []);
  const filters = chosen(AUDIT_FILTERS);
  const log = useLog<AuditEntry>("/audit", filters);
  return (
    <>
      <PageHead title="Audit" sub="Who changed what; it is only added to."><Export path="/audit" filters={filters} /></PageHead>
      <Tabs audit />
      <Card>
        <Filters names={AUDIT_FILTERS}>
          <Typed name="user" label="Who" of={users.data ?? []} hint={users.error ? `The names could not be loaded: ${users.error}` : undefined} />
          <Moment name="since" label="From" />
          <Moment name="until" label="To" />
          <Typed name="text" label="What" least={TEXT_LEAST} hint="In what was done, or the path." />
        </Filters>
        <LogTable log={log} what="the audit log" caption="Audit log" filtered={!!filters} columns={[
          { head: "Time", cell: (r) => clock(r.time), phone: "title" },
          { head: "Who", cell: (r) => <>{r.user}<div class="hint">{r.from}</div></>, phone: "beside" },
          { head: "Did", cell: (r) => <>{r.action}<div class="hint">{r.subject}</div></>, wide: true, phone: "bare" },
          { head: "Change", cell: (r) => <Change entry={r} />, wide: true },
        ]} />
      </Card>
    </>
  );
}
