// A job in three steps: what kind, from where, to where.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, post, reasonOf } from "../api";
import { agents, refresh } from "../live";
import { bytes } from "../format";
import { go, href } from "../router";
import { Card, Check, Choice, Dialog, Empty, Form, PageHead, State, Text } from "../ui/parts";
import { Failed, Loading, Shared } from "../ui/load";
import type { Job } from "../types";

interface End { agent: string; path: string }
interface Entry { name: string; kind: "folder" | "file"; size?: number }

const usable = () => agents.value.filter((a) => a.state === "online" || a.state === "offline");

/** Folders of an agent, as far as it lets them be seen. */
function Browser({ agent, from, choose, close }: { agent: string; from: string; choose: (path: string) => void; close: () => void }) {
  const [path, setPath] = useState(from.startsWith("/") ? from : "/");
  const [entries, setEntries] = useState<Entry[]>([]);
  const [more, setMore] = useState(false);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(true);
  const fetch = (known: Entry[]) => {
    const after = known.length ? known[known.length - 1].name : "";
    setError("");
    setBusy(true);
    get<{ items: Entry[]; more: boolean }>(`/agents/${encodeURIComponent(agent)}/folders?path=${encodeURIComponent(path)}&after=${encodeURIComponent(after)}`).then(
      (answer) => { setBusy(false); setEntries([...known, ...answer.items]); setMore(answer.more); },
      (e: unknown) => { setBusy(false); setEntries([]); setMore(false); setError(reasonOf(e)); },
    );
  };
  useEffect(() => fetch([]), [path]);
  // What was pressed is gone with the former folder: the focus goes to the top of the new one.
  const list = useRef<HTMLUListElement>(null);
  const moved = useRef(false);
  const open = (to: string) => {
    moved.current = true;
    setPath(to);
  };
  useEffect(() => {
    if (moved.current) list.current?.querySelector("button")?.focus();
  }, [path, busy]);
  const up = path.replace(/\/[^/]*\/?$/, "") || "/";
  const below = (name: string) => (path === "/" ? `/${name}` : `${path}/${name}`);
  return (
    <Dialog title={`${agent}:${path}`} onClose={close}>
      {error && <Failed what={`the content of ${path}`} reason={error} again={() => fetch([])} />}
      <ul class="browser" ref={list}>
        {path !== "/" && <li><button type="button" class="plain" onClick={() => open(up)}>↑ {up}</button></li>}
        {entries.map((e) => (
          <li key={e.name}>
            {e.kind === "folder" ? <button type="button" class="plain" onClick={() => open(below(e.name))}>🗀 {e.name}</button>
              : <button type="button" class="plain file" onClick={() => choose(below(e.name))}>{e.name} <span class="hint">{e.size === undefined ? "" : bytes(e.size)}</span></button>}
          </li>
        ))}
        {more && <li><button type="button" class="plain" onClick={() => fetch(entries)}>more…</button></li>}
        {busy && <li><Loading what={path} /></li>}
        {!busy && !error && entries.length === 0 && <li class="hint">nothing in it</li>}
      </ul>
      <footer><button type="button" class="plain" onClick={close}>Cancel</button><button type="button" class="primary" onClick={() => choose(path)}>Take {path}</button></footer>
    </Dialog>
  );
}

/** What stands beside an agent: a folder, or an end of a forwarded port. */
type What = "folder" | "listens" | "leads";
const WHAT: Record<What, { label: string; placeholder: string; hint: string }> = {
  folder: { label: "folder", placeholder: "/data/projects", hint: "A folder, or one file." },
  listens: { label: "port", placeholder: "127.0.0.1:5432", hint: "ADDRESS:PORT at which it accepts connections." },
  leads: { label: "host", placeholder: "db.internal:5432", hint: "HOST:PORT that it connects to. The agent's own file must allow it (forward)." },
};

function EndRow({ end, set, drop, label, error, what }: { end: End; set: (end: End) => void; drop?: () => void; label: string; error?: string; what: What }) {
  const [browsing, setBrowsing] = useState(false);
  const agent = agents.value.find((a) => a.name === end.agent);
  return (
    <div class="end-row">
      <Choice label={`${label} agent`} value={end.agent} set={(name) => set({ ...end, agent: name })} of={[["", "choose…"], ...usable().map((a): [string, string] => [a.name, a.name])]}
        hint={agent && <State is={agent.state} />} />
      <Text label={`${label} ${WHAT[what].label}`} value={end.path} set={(path) => set({ ...end, path })} placeholder={WHAT[what].placeholder} error={error} hint={WHAT[what].hint} />
      <div class="end-actions">
        {what === "folder" && <button type="button" disabled={agent?.state !== "online"} onClick={() => setBrowsing(true)}>Browse…</button>}
        {drop && <button type="button" class="plain" aria-label={`Remove ${label}`} onClick={drop}>✕</button>}
      </div>
      {browsing && <Browser agent={end.agent} from={end.path} close={() => setBrowsing(false)} choose={(path) => { set({ ...end, path }); setBrowsing(false); }} />}
    </div>
  );
}

function Ends({ ends, set, many, label, error, what }: { ends: End[]; set: (ends: End[]) => void; many: boolean; label: string; error?: string; what: What }) {
  return (
    <>
      {ends.map((end, i) => (
        <EndRow key={i} end={end} what={what} label={ends.length > 1 ? `${label} ${i + 1}` : label} error={i === 0 ? error : undefined} set={(e) => set(ends.map((old, j) => (j === i ? e : old)))}
          drop={ends.length > 1 ? () => set(ends.filter((_, j) => j !== i)) : undefined} />
      ))}
      {many && <button type="button" onClick={() => set([...ends, { agent: "", path: ends[ends.length - 1].path }])}>One more {label.toLowerCase()}</button>}
    </>
  );
}

/** One to many, or, turned round, many to one; or one to one. */
function Picture({ kind }: { kind: string }) {
  const collect = kind === "consolidation";
  return kind === "forward" ? (
    <svg viewBox="0 0 62 36" aria-hidden="true">
      <rect x="2" y="12" width="14" height="12" rx="3" /><rect x="46" y="12" width="14" height="12" rx="3" />
      <path d="M16 15H46M16 21H46M41 11L46 15L41 19M21 17L16 21L21 25" />
    </svg>
  ) : (
    <svg viewBox="0 0 62 36" aria-hidden="true">
      <g transform={collect ? "translate(62 0) scale(-1 1)" : undefined}>
        <rect x="2" y="12" width="14" height="12" rx="3" /><rect x="46" y="1" width="14" height="9" rx="3" /><rect x="46" y="13.5" width="14" height="9" rx="3" /><rect x="46" y="26" width="14" height="9" rx="3" />
        <path d="M16 18C32 18 30 5.5 46 5.5M16 18H46M16 18C32 18 30 30.5 46 30.5" />
      </g>
    </svg>
  );
}

const KINDS: [string, string, string][] = [
  ["distribution", "Distribute", "One folder to one or many agents"],
  ["consolidation", "Collect", "Folders of many agents to one, each in a subfolder of its own"],
  ["forward", "Forward a port", "A TCP port at one agent leads to a host behind another: ssh, databases, anything"],
];

export function Wizard() {
  const [kind, setKind] = useState("distribution");
  const [name, setName] = useState("");
  const [from, setFrom] = useState<End[]>([{ agent: "", path: "" }]);
  const [to, setTo] = useState<End[]>([{ agent: "", path: "" }]);
  const [hold, setHold] = useState(false);
  const collect = kind === "consolidation";
  const forward = kind === "forward";
  const choose = (k: string) => {
    setKind(k);
    if (k !== "distribution") setTo(to.slice(0, 1));
    if (k !== "consolidation") setFrom(from.slice(0, 1));
  };
  const texts = (ends: End[]) => ends.map((e) => `${e.agent}:${e.path}`);
  const submit = async () => {
    const missing = [...from, ...to].find((e) => !e.agent || !e.path);
    if (missing) throw new Error(forward ? "choose an agent, with ADDRESS:PORT, on both sides" : "choose an agent and a folder on both sides");
    const job = await post<Job>("/jobs", { kind, name: name || `${from[0].agent} to ${to[0].agent}`, from: texts(from), to: texts(to), hold });
    refresh("jobs", "status");
    go("jobs", job.id);
  };
  return (
    <>
      <PageHead title="New job" sub={<a href={href("jobs")}>All jobs</a>} />
      <Shared name="agents" what="the agents">{() => usable().length === 0 ? <Empty title="No agent that could take part"><a href={href("agents", "add")}>Add an agent</a></Empty> : <Form submit={submit} button={hold ? "Create" : "Create and start"}>
        {(error) => (
          <>
            <Card title="1 · What">
              <div class="kinds" role="radiogroup" aria-label="Kind of job">
                {KINDS.map(([key, title, text]) => (
                  <label key={key} class={kind === key ? "chosen" : ""}>
                    <span><input type="radio" name="kind" checked={kind === key} onChange={() => choose(key)} /> <strong>{title}</strong></span><Picture kind={key} />
                    <span class="hint">{text}</span>
                  </label>
                ))}
              </div>
            </Card>
            <Card title={forward ? "2 · Which port" : "2 · From where"}><Ends ends={from} set={setFrom} many={collect} label={forward ? "Listening" : "Source"} what={forward ? "listens" : "folder"} error={error("from")} /></Card>
            <Card title="3 · To where"><Ends ends={to} set={setTo} many={kind === "distribution"} label="Target" what={forward ? "leads" : "folder"} error={error("to")} /></Card>
            <Card title="4 · How it is called">
              <Text label="Name" value={name} set={setName} error={error("name")} placeholder={from[0].agent && to[0].agent ? `${from[0].agent} to ${to[0].agent}` : ""} hint={`No two jobs have the same. Empty: as its agents, “${from[0].agent || "source"} to ${to[0].agent || "target"}”.`} />
              <Check value={hold} set={setHold} label="Do not start it yet" />
            </Card>
          </>
        )}
      </Form>}</Shared>
    </>
  );
}
