// What is going on, and what needs somebody.
import { useState } from "preact/hooks";
import { agents, events, flows, jobs, loaded, proxies, status, throughput } from "../live";
import { LiveMap } from "../map";
import { gathered, matters, type Matter } from "../attention";
import { moves, setMoves } from "../motion";
import { openNow } from "./jobs";
import { ago, bytes, count, rate } from "../format";
import { href } from "../router";
import { Card, Empty, Figure, PageHead, Progress, State, Table } from "../ui/parts";
import { Throughput } from "../ui/chart";
import type { Job } from "../types";

const SHOWN = 6;
const FILTER_FROM = 8; // agents from which on one has to look for one

function RunningJob({ job }: { job: Job }) {
  const run = job.run!;
  return (
    <li>
      <a href={href("jobs", job.id)}>{job.name}</a> <State is={job.state} />
      <span class="right">{rate(run.speed)}</span>
      {job.kind === "forward" ? <span class="hint">{openNow(run)}</span> : (
        <>
          <Progress part={run.bytes_done} whole={run.bytes_total} label={`progress of ${job.name}`} />
          <span class="hint">{bytes(run.bytes_done)} of {bytes(run.bytes_total)}{run.list_complete ? "" : " so far"}</span>
        </>
      )}
    </li>
  );
}

/** The fastest first, then what is not over. */
function Running({ list }: { list: Job[] }) {
  if (!list.length) return <p class="calm">No job runs.</p>;
  const shown = [...list].sort((a, b) => (b.run?.speed ?? 0) - (a.run?.speed ?? 0)).slice(0, SHOWN);
  return (
    <>
      <ul class="running">{shown.sort((a, b) => a.name.localeCompare(b.name)).map((j) => <RunningJob job={j} key={j.id} />)}</ul>
      {list.length > SHOWN && <p><a href={href("jobs")}>and {count(list.length - SHOWN)} more</a></p>}
    </>
  );
}

const since = (m: Matter) => (m.since ? ago(m.since) : "");

function Needs() {
  const list = gathered(matters());
  if (!list.length) return <p class="calm">Nothing needs you.</p>;
  return (
    <>
      <ul class="matters">
        {list.slice(0, SHOWN).map((m) => (
          <li key={m.key}>
            <State is={m.tone} /> <a href={m.link}>{m.text}</a>
            <span class="hint">{[m.todo, since(m)].filter(Boolean).join(" · ")}</span>
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
            { head: "State", cell: (m) => <State is={m.tone} /> },
            { head: "What", cell: (m) => <a href={m.link}>{m.text}</a>, long: true },
            { head: "What to do", cell: (m) => m.todo, long: true },
            { head: "Since", cell: (m) => since(m) || "–", right: true },
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
        <button type="button" class="plain" aria-pressed={moves()} onClick={() => setMoves(!moves())}>Moving lines: {moves() ? "on" : "off"}</button>
      </div>
    }>
      <LiveMap agents={agents.value} proxies={proxies.value} under={flows.value} filter={filter} />
    </Card>
  );
}

export function Overview() {
  const s = status.value;
  const running = jobs.value.filter((j) => ["running", "waiting", "paused"].includes(j.state) && j.run);
  const speed = throughput.value.length ? throughput.value[throughput.value.length - 1][1] : 0;
  if (!loaded.value) return <p class="calm">Loading…</p>;
  return (
    <>
      <PageHead title="Overview" />
      <div class="figures">
        <Figure label="Agents online" value={`${count(s?.agents.online ?? 0)} / ${count(s?.agents.total ?? 0)}`} hint={s?.agents.pending ? `${count(s.agents.pending)} waiting for approval` : undefined} />
        <Figure label="Proxies connected" value={`${s?.proxies.connected ?? 0} / ${s?.proxies.total ?? 0}`} />
        <Figure label="Runs now" value={s?.runs.active ?? 0} hint={`${s?.jobs.total ?? 0} jobs`} />
        <Figure label="Moving" value={rate(speed)} />
      </div>
      {agents.value.length + proxies.value.length === 0 ? <Welcome /> : <Who />}
      <div class="columns">
        <Card title="Needs attention"><Needs /></Card>
        <Card title="Running"><Running list={running} /></Card>
      </div>
      <Card title="Throughput, in the last hour"><Throughput data={throughput.value} label="Throughput of all runs" /></Card>
      <Card title="Lately" action={<a href={href("events")}>all events</a>}>
        <ul class="lately">{[...events.value].reverse().slice(0, 8).map((e) => <li key={e.n}><span class="hint">{ago(e.time)}</span> {e.text}</li>)}</ul>
      </Card>
    </>
  );
}

function Welcome() {
  return (
    <Card>
      <Empty title="Three steps to the first transfer">
        <ol class="steps">
          <li><a href={href("proxies", "add")}>Add a proxy</a> on a machine that both sides can reach.</li>
          <li><a href={href("agents", "add")}>Add agents</a> where the folders are; they only dial out.</li>
          <li><a href={href("jobs", "new")}>Order a job</a>: from which folder to which agents.</li>
        </ol>
      </Empty>
    </Card>
  );
}
