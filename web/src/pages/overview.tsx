// What is going on, and what needs somebody.
import { useState } from "preact/hooks";
import { agents, events, flows, jobs, loaded, proxies, status, throughput } from "../live";
import { LiveMap } from "../map";
import { gathered, matters, type Matter } from "../attention";
import { moves, setMoves } from "../motion";
import { openNow } from "./jobs";
import { ago, bytes, count, rate } from "../format";
import { may } from "../api";
import { href } from "../router";
import { Card, Empty, Figure, PageHead, Progress, State, Table } from "../ui/parts";
import { Throughput } from "../ui/chart";
import type { Job } from "../types";

const SHOWN = 6;
const FILTER_FROM = 8; // agents from which on one has to look for one

/** Why nothing of it is known yet. */
const waitsFor = (job: Job) => flows.value.find((f) => f.job === job.id && f.text)?.text ?? (job.state === "waiting" ? "waits for its agents" : "listing its files");

function RunningJob({ job }: { job: Job }) {
  const run = job.run!;
  return (
    <li>
      <div class="line"><a href={href("jobs", job.id)}>{job.name}</a> <State is={job.state} /><span class="end-of-line">{rate(run.speed)}</span></div>
      {job.kind === "forward" ? <span class="hint">{openNow(run)}</span> : (
        <>
          <Progress part={run.bytes_done} whole={run.bytes_total} label={`progress of ${job.name}`} />
          <span class="hint">{run.bytes_total === 0 ? waitsFor(job) : `${bytes(run.bytes_done)} of ${bytes(run.bytes_total)}${run.list_complete ? "" : ", still listing"}`}</span>
        </>
      )}
    </li>
  );
}

/** The fastest first, then what is not over. */
function Running({ list }: { list: Job[] }) {
  if (!list.length) return <p class="calm">{jobs.value.length || !may("operate") ? "No job runs." : <a href={href("jobs", "new")}>Order the first job</a>}</p>;
  const shown = [...list].sort((a, b) => (b.run?.speed ?? 0) - (a.run?.speed ?? 0)).slice(0, SHOWN);
  return (
    <>
      <ul class="running">{shown.sort((a, b) => a.name.localeCompare(b.name)).map((j) => <RunningJob job={j} key={j.id} />)}</ul>
      {list.length > SHOWN && <p><a href={href("jobs")}>and {count(list.length - SHOWN)} more</a></p>}
    </>
  );
}

const since = (m: Matter) => (m.since ? ago(m.since) : "");

const Todo = ({ of: m }: { of: Matter }) => <>{m.todo}{m.command && <> <code>{m.command}</code></>}</>;

function Needs() {
  const list = gathered(matters());
  if (!list.length) return <p class="calm">Nothing needs you.</p>;
  return (
    <>
      <ul class="matters">
        {list.slice(0, SHOWN).map((m) => (
          <li key={m.key}>
            <div class="line"><State is={m.tone} /><span class="end-of-line hint">{since(m)}</span></div>
            <a href={m.link}>{m.text}</a>
            <span class="hint"><Todo of={m} /></span>
          </li>
        ))}
      </ul>
      {list.length > SHOWN && <p><a href={href("attention")}>and {count(list.length - SHOWN)} more</a></p>}
    </>
  );
}

/** All that needs somebody. */
export function Attention() {
  const list = matters();
  if (!loaded.value) return <p class="calm">Loading…</p>;
  return (
    <>
      <PageHead title="Needs attention" sub="The worst first, and of those what has waited longest." />
      <Card>
        {list.length === 0 ? <Empty title="Nothing needs you" /> : (
          <Table caption="Needs attention" rows={list} id={(m) => m.key} columns={[
            { head: "State", cell: (m) => <State is={m.tone} />, phone: "title" },
            { head: "What", cell: (m) => <a href={m.link}>{m.text}</a>, wide: true, phone: "bare" },
            { head: "What to do", cell: (m) => <Todo of={m} />, wide: true, phone: "bare" },
            { head: "Since", cell: (m) => since(m) || "–", right: true, phone: "beside" },
          ]} />
        )}
      </Card>
    </>
  );
}

function Who() {
  const [filter, setFilter] = useState("");
  return (
    <Card title="Who is connected" action={
      <div class="actions">
        {agents.value.length >= FILTER_FROM && <input type="search" class="small" aria-label="Filter the map" placeholder="name, tag, proxy…" value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />}
        <button type="button" class="plain quiet" aria-pressed={moves()} onClick={() => setMoves(!moves())}>Moving lines: {moves() ? "on" : "off"}</button>
      </div>
    }>
      <LiveMap agents={agents.value} proxies={proxies.value} under={flows.value} filter={filter} />
    </Card>
  );
}

const outOf = (part = 0, whole = 0) => `${count(part)} of ${count(whole)}`;

/** Those of @list that are not as they should be, by their states. */
function others(list: { state: string }[], words: Record<string, string>, whole: string): string {
  if (!list.length) return "none yet";
  const counts = Object.entries(words).map(([state, word]) => [list.filter((one) => one.state === state).length, word] as const);
  return counts.filter(([n]) => n > 0).map(([n, word]) => `${count(n)} ${word}`).join(", ") || whole;
}

export function Overview() {
  const s = status.value;
  const running = jobs.value.filter((j) => ["running", "waiting", "paused"].includes(j.state) && j.run);
  const speed = throughput.value.length ? throughput.value[throughput.value.length - 1][1] : 0;
  const most = throughput.value.reduce((top, [, value]) => Math.max(top, value), 0);
  if (!loaded.value) return <p class="calm">Loading…</p>;
  if (agents.value.length + proxies.value.length + jobs.value.length === 0) return <><PageHead title="Overview" /><Welcome /></>;
  return (
    <>
      <PageHead title="Overview" />
      <div class="figures">
        <Figure label="Agents online" value={outOf(s?.agents.online, s?.agents.total)} link={href("agents")} hint={others(agents.value, { pending: "waiting for approval", offline: "away" }, "all are here")} />
        <Figure label="Proxies connected" value={outOf(s?.proxies.connected, s?.proxies.total)} link={href("proxies")} hint={others(proxies.value, { unreachable: "unreachable", connecting: "connecting" }, "all of them")} />
        <Figure label="Jobs at work" value={outOf(s?.runs.active, s?.jobs.total)} link={href("jobs")} hint={running.length ? undefined : "none runs"} />
        <Figure label="Moving now" value={rate(speed)} hint={most > 0 ? `peak ${rate(most)}` : undefined} />
      </div>
      {agents.value.length === 0 && <Welcome />}
      <Who />
      <div class="columns even">
        <Card title="Needs attention"><Needs /></Card>
        <Card title="Running"><Running list={running} /></Card>
      </div>
      <Card title="Throughput"><Throughput data={throughput.value} label="Throughput of all runs" /></Card>
      <Card title="Lately" action={<a href={href("events")}>all events</a>}>
        {events.value.length === 0 && <p class="calm">Nothing has happened yet.</p>}
        <ul class="lately">{[...events.value].reverse().slice(0, 8).map((e) => <li key={e.n}><span class="hint">{ago(e.time)}</span><span>{e.level !== "info" && <><State is={e.level} /> </>}{e.text}</span></li>)}</ul>
      </Card>
    </>
  );
}

function Welcome() {
  return (
    <Card title="Three steps to the first transfer" class="welcome">
      <ol class="steps">
        <li class={proxies.value.length ? "done" : ""}><strong><a href={href("proxies", "add")}>Add a proxy</a></strong><span class="hint">On a machine that both sides can reach. It passes on what it cannot read.</span></li>
        <li><strong><a href={href("agents", "add")}>Add agents</a></strong><span class="hint">Where the folders are. They only dial out, so that no firewall has to be opened for them.</span></li>
        <li><strong><a href={href("jobs", "new")}>Order a job</a></strong><span class="hint">From which folder to which agents. It begins at once, and shows here while it runs.</span></li>
      </ol>
    </Card>
  );
}
