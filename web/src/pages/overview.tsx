// What is going on, and what needs somebody.
import { agents, events, flows, jobs, loaded, proxies, status, throughput } from "../live";
import { LiveMap } from "../map";
import { openNow } from "./jobs";
import { ago, bytes, rate } from "../format";
import { href } from "../router";
import { Card, Empty, Figure, PageHead, Progress, State } from "../ui/parts";
import { Throughput } from "../ui/chart";
import type { Job } from "../types";

interface Matter { key: string; tone: string; text: string; link: string }

function matters(): Matter[] {
  const list: Matter[] = [];
  for (const a of agents.value)
    if (a.state === "pending") list.push({ key: a.id, tone: "pending", text: `Agent ${a.name} asks to be let in`, link: href("agents", a.id) });
  for (const p of proxies.value) {
    if (p.state === "unreachable") list.push({ key: p.id, tone: "unreachable", text: `Proxy ${p.name} cannot be reached: ${p.error ?? "no answer"}`, link: href("proxies", p.id) });
    if (p.settings && ["refused", "rolled back"].includes(p.settings.state))
      list.push({ key: `${p.id}s`, tone: p.settings.state, text: `Settings of proxy ${p.name} were ${p.settings.state}: ${p.settings.error ?? ""}`, link: href("proxies", p.id) });
  }
  for (const j of jobs.value) {
    if (j.state === "failed" || j.state === "partial")
      list.push({ key: j.id, tone: j.state, text: `Job ${j.name}: ${j.run?.files_failed ?? 0} files were not done`, link: href("jobs", j.id) });
    const waits = j.state === "running" ? flows.value.find((f) => f.job === j.id && f.text && f.speed === 0) : undefined;
    if (waits) list.push({ key: `${j.id}w`, tone: "waiting", text: `Job ${j.name}: ${waits.text}`, link: href("jobs", j.id) });
  }
  const soon = Date.now() + 14 * 86400e3;
  for (const a of agents.value)
    if (a.state === "offline" && a.expires && Date.parse(a.expires) < soon)
      list.push({ key: `${a.id}e`, tone: "warn", text: `Agent ${a.name} is away and its certificate ends ${a.expires.slice(0, 10)}`, link: href("agents", a.id) });
  return list;
}

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

function Attention() {
  const list = matters();
  if (!list.length) return <p class="calm">Nothing needs you.</p>;
  return <ul class="matters">{list.slice(0, 12).map((m) => <li key={m.key}><State is={m.tone} /> <a href={m.link}>{m.text}</a></li>)}</ul>;
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
        <Figure label="Agents online" value={`${s?.agents.online ?? 0} / ${s?.agents.total ?? 0}`} hint={s?.agents.pending ? `${s.agents.pending} waiting for approval` : undefined} />
        <Figure label="Proxies connected" value={`${s?.proxies.connected ?? 0} / ${s?.proxies.total ?? 0}`} />
        <Figure label="Runs now" value={s?.runs.active ?? 0} hint={`${s?.jobs.total ?? 0} jobs`} />
        <Figure label="Moving" value={rate(speed)} />
      </div>
      {agents.value.length + proxies.value.length === 0 ? <Welcome /> : (
        <Card title="Who is connected"><LiveMap agents={agents.value} proxies={proxies.value} under={flows.value} /></Card>
      )}
      <div class="columns">
        <Card title="Needs attention"><Attention /></Card>
        <Card title="Running">{running.length ? <ul class="running">{running.map((j) => <RunningJob job={j} key={j.id} />)}</ul> : <p class="calm">No job runs.</p>}</Card>
      </div>
      <Card title="Throughput"><Throughput data={throughput.value} label="Throughput of all runs" /></Card>
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
