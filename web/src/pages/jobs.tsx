import { useState } from "preact/hooks";
import { get, items, may, post, remove } from "../api";
import { flows, jobs, loaded, refresh } from "../live";
import { bytes, clock, count, duration, rate } from "../format";
import { go, href } from "../router";
import { Act, Card, Check, Empty, Figure, Missing, PageHead, Progress, State, Table } from "../ui/parts";
import { End, Ends, Route } from "../ui/ends";
import { Ways } from "../ui/ways";
import { Failed, Loaded, Loading, Shared, useLoad } from "../ui/load";
import type { Connections, Flow, Job, Run, RunError, Tunnel } from "../types";

const ERRORS_PAGE = 200;

export function eta(run: { bytes_total: number; bytes_done: number; speed: number; list_complete: boolean }): string {
  if (!run.speed || !run.list_complete) return "–";
  return duration((run.bytes_total - run.bytes_done) / run.speed);
}

const KIND: Record<string, string> = { distribution: "Distributes", consolidation: "Collects", forward: "Forwards" };

const TONE: Record<string, string> = { failed: "bad", partial: "warn", done: "good", paused: "off" };

export function Jobs() {
  return (
    <>
      <PageHead title="Jobs" sub="What is to be where: folders that are copied, ports that are forwarded.">
        {may("operate") && <a class="button primary" href={href("jobs", "new")}>New job</a>}
      </PageHead>
      <Card>
        <Shared name="jobs" what="the jobs">{() => jobs.value.length === 0 ? <Empty title="No job yet">A job brings a folder from one agent to others or from many to one, or forwards a port.</Empty> : (
          <Table caption="Jobs" rows={jobs.value} id={(j) => j.id} columns={[
            { head: "Name", cell: (j) => <a href={href("jobs", j.id)}>{j.name}</a>, wide: true, phone: "title" },
            { head: "State", cell: (j) => <State is={j.state} />, phone: "beside" },
            { head: "From", cell: (j) => <Ends of={j.from} />, wide: true },
            { head: "To", cell: (j) => <Ends of={j.to} />, wide: true },
            { head: "Progress", cell: (j) => (!j.run ? "–" : connections(j.run) ? openNow(j.run) : <Progress part={j.run.bytes_done} whole={j.run.bytes_total} label={`progress of ${j.name}`} tone={TONE[j.state]} />) },
            { head: "Speed", cell: (j) => (j.run ? rate(j.run.speed) : "–"), right: true },
          ]} />
        )}</Shared>
      </Card>
    </>
  );
}

/** Of a forward's one flow. */
function connections(run: Run): Connections | undefined {
  return run.flows[0]?.connections;
}

export function openNow(run: Run): string {
  const open = connections(run)?.open ?? 0;
  return `${count(open)} ${open === 1 ? "connection" : "connections"} open`;
}

function Actions({ job }: { job: Job }) {
  const act = (what: string) => async () => {
    await post(`/jobs/${job.id}/${what}`);
    refresh("jobs", "status");
  };
  const goes = ["running", "waiting", "paused"].includes(job.state);
  const forward = job.kind === "forward";
  return (
    <>
      {!goes && <Act class="primary" act={act("start")}>{job.run ? "Run again" : "Start"}</Act>}
      {(job.state === "failed" || job.state === "partial") && !forward && <Act act={act("start")} title="A new run moves only what is missing">Retry what was not done</Act>}
      {(job.state === "running" || job.state === "waiting") && <Act act={act("pause")}>Pause</Act>}
      {job.state === "paused" && <Act class="primary" act={act("resume")}>Resume</Act>}
      {goes && <Act act={act("stop")} ask={`Stop ${job.name}? ${forward ? "Its connections are cut." : "What was moved stays; a new run goes on from there."}`}>Stop</Act>}
      {!goes && <Act class="danger" ask={`Remove ${job.name} and its history?${forward ? "" : " The files stay."}`} act={async () => { await remove(`/jobs/${job.id}`); refresh("jobs", "status"); go("jobs"); }}>Remove</Act>}
    </>
  );
}

function Flows({ flows }: { flows: Flow[] }) {
  return (
    <Table caption="Progress by agent" rows={flows} id={(f) => f.id} columns={[
      { head: "From", cell: (f) => <End of={`${f.source.name}:${f.source_path}`} />, wide: true },
      { head: "To", cell: (f) => <End of={`${f.target.name}:${f.target_path}`} />, wide: true },
      { head: "State", cell: (f) => <><State is={f.state} />{f.text && <div class="hint">{f.text}</div>}</> },
      { head: "Path", cell: (f) => <Route of={f.path} /> },
      { head: "Progress", cell: (f) => <><Progress part={f.bytes_done} whole={f.bytes_total} label={`progress to ${f.target.name}`} tone={TONE[f.state]} /><div class="hint">{bytes(f.bytes_done)} of {bytes(f.bytes_total)}</div></> },
      { head: "Files", cell: (f) => `${count(f.files_done)} / ${count(f.files_total)}`, right: true },
      { head: "Speed", cell: (f) => rate(f.speed || (f.micros && f.state !== "moving" ? (f.bytes_moved * 1e6) / f.micros : 0)), right: true },
    ]} />
  );
}

const FILES_SHOWN = 12;

/** The files on their way in, of all flows the fastest first. Agents tell of a few each. */
function FilesMoving({ run }: { run: Run }) {
  const all = run.flows.flatMap((f) => (f.files ?? []).map((file) => ({ ...file, flow: f }))).sort((a, b) => b.speed - a.speed || b.done - a.done);
  const open = run.flows.reduce((sum, f) => sum + (f.files_open ?? 0), 0);
  if (all.length === 0) return null;
  const rows = all.slice(0, FILES_SHOWN);
  return (
    <Card title="Files on their way">
      <Table caption="Files on their way" rows={rows} id={(f) => `${f.flow.id}/${f.name}`} columns={[
        { head: "File", cell: (f) => <>{f.cut && "…"}{f.name}</>, wide: true, phone: "title" },
        { head: "To", cell: (f) => f.flow.target.name },
        { head: "Progress", cell: (f) => <><Progress part={f.done} whole={f.size} label={`progress of ${f.name}`} /><div class="hint">{bytes(f.done)} of {bytes(f.size)}</div></> },
        { head: "Speed", cell: (f) => rate(f.speed), right: true },
      ]} />
      {open > rows.length && <p class="hint">The fastest {rows.length} of {count(open)}.</p>}
    </Card>
  );
}

/** Moves what was chosen, or all, in a run of its own. */
function Retry({ run, chosen, done }: { run: Run; chosen: string[]; done: () => void }) {
  const retry = async () => {
    const job = await post<Job>(`/runs/${run.id}/retry`, chosen.length ? { files: chosen } : {});
    done();
    refresh("jobs", "status");
    go("jobs", job.id);
  };
  return <Act act={retry}>{chosen.length ? `Retry these ${count(chosen.length)}` : "Retry all of them"}</Act>;
}

function Errors({ run }: { run: Run }) {
  const errors = useLoad(() => (run.files_failed ? items<RunError>(`/runs/${run.id}/errors?limit=${ERRORS_PAGE}`) : Promise.resolve([])), [run.id, run.files_failed]);
  const [chosen, setChosen] = useState<string[]>([]);
  const choose = (name: string) => (on: boolean) => setChosen(on ? [...chosen, name] : chosen.filter((c) => c !== name));
  if (run.files_failed === 0) return <p class="calm">{run.ended ? (run.state === "done" ? "Nothing: all files are there." : "No file failed.") : "Nothing has failed so far."}</p>;
  return (
    <Loaded of={errors} what="what was not done">{(rows) => <>
      <Table caption="What was not done" rows={rows} id={(e) => String(e.n)} columns={[
        { head: "File", cell: (e) => (run.ended && e.name && may("operate") ? <Check value={chosen.includes(e.name)} set={choose(e.name)} label={e.name} /> : e.name), wide: true },
        { head: "Reason", cell: (e) => e.text, wide: true },
        { head: "From", cell: (e) => e.source },
        { head: "To", cell: (e) => e.target },
      ]} />
      {run.files_failed > rows.length && <p class="hint">The first {rows.length} of {count(run.files_failed)}; all of them: <code>fairlead job show {run.job.slice(0, 8)}</code></p>}
      {run.ended && may("operate") && <p><Retry run={run} chosen={chosen} done={() => setChosen([])} /></p>}
    </>}</Loaded>
  );
}

/** Over which ways a run that goes on moves. */
function WaysOf({ run }: { run: Run }) {
  const tunnels = useLoad(() => items<Tunnel>(`/tunnels?run=${run.id}`), [run.id, flows.value, jobs.value]);
  const ways = (tunnels.data ?? []).filter((w) => w.run === run.id);
  if (ways.length === 0 && !tunnels.error) return null;
  return <Card title="Ways"><Loaded of={tunnels} what="the ways">{() => <Ways ways={ways} />}</Loaded></Card>;
}

function ForwardView({ run, counts }: { run: Run; counts: Connections }) {
  const flow = run.flows[0];
  return (
    <>
      <div class="figures">
        <Figure label={`Run ${run.number}`} value={<State is={run.state} />} hint={`started ${clock(run.started)}`} />
        <Figure label="Open" value={count(counts.open)} hint={`of ${count(counts.total)} connections so far`} />
        <Figure label="Refused" value={count(counts.refused)} />
        <Figure label="Up" value={bytes(counts.bytes_up)} hint="to the target host" />
        <Figure label="Down" value={bytes(counts.bytes_down)} />
        <Figure label="Speed" value={rate(run.speed)} hint="both ways" />
      </div>
      <Card title="Port">
        <p>{flow.target.name}:{flow.target_path} → {flow.source.name}:{flow.source_path} <State is={flow.state} /> {flow.path && <Route of={flow.path} />}</p>
        {flow.text && <p class="hint">{flow.text}</p>}
      </Card>
      {!run.ended && <WaysOf run={run} />}
    </>
  );
}

export function RunView({ run }: { run: Run }) {
  const counts = connections(run);
  return counts ? <ForwardView run={run} counts={counts} /> : <FilesView run={run} />;
}

function FilesView({ run }: { run: Run }) {
  const took = run.started ? (Date.parse(run.ended ?? new Date().toISOString()) - Date.parse(run.started)) / 1000 : 0;
  return (
    <>
      <div class="figures">
        <Figure label={`Run ${run.number}`} value={<State is={run.state} />} hint={`started ${clock(run.started)}`} />
        <Figure label="Moved" value={bytes(run.bytes_done)} hint={`of ${bytes(run.bytes_total)}${run.list_complete ? "" : ", still listing"}`} />
        <Figure label="Files" value={`${count(run.files_done)} / ${count(run.files_total)}`} hint={run.files_same ? `${count(run.files_same)} were there already` : undefined} />
        <Figure label="Speed" value={rate(run.speed)} hint={run.ended ? "on average" : undefined} />
        <Figure label={run.ended ? "Took" : "Left"} value={!run.ended ? eta(run) : took < 1 ? "under 1 s" : duration(took)} hint={run.ended ? undefined : `${duration(took)} so far`} />
        <Figure label="Not done" value={count(run.files_failed)} hint={run.files_failed === 1 ? "file" : "files"} />
      </div>
      <Progress part={run.bytes_done} whole={run.bytes_total} label="progress of the run" tone={TONE[run.state]} bare />
      <Card title="By agent"><Flows flows={run.flows} /></Card>
      {!run.ended && <WaysOf run={run} />}
      {!run.ended && <FilesMoving run={run} />}
      <Card title="What was not done"><Errors run={run} /></Card>
    </>
  );
}

function History({ job }: { job: Job }) {
  const history = useLoad(() => items<Run>(`/jobs/${job.id}/runs`), [job.id, job.run?.id, job.state]);
  const forward = job.kind === "forward";
  return (
    <Loaded of={history} what="the runs">{(runs) => runs.length === 0 ? <Empty title="No run yet" /> : <Table caption="Runs" rows={runs} id={(r) => r.id} columns={[
      { head: "Run", cell: (r) => <a href={href("jobs", job.id, r.id)}>No. {r.number}</a>, phone: "title" },
      { head: "State", cell: (r) => <State is={r.state} />, phone: "beside" },
      { head: "Started", cell: (r) => clock(r.started) },
      forward ? { head: "Connections", cell: (r) => count(r.files_total), right: true }
        : { head: "Files", cell: (r) => `${count(r.files_done)} / ${count(r.files_total)}`, right: true },
      { head: forward ? "Refused" : "Not done", cell: (r) => count(r.files_failed), right: true },
      { head: "Moved", cell: (r) => bytes(r.bytes_moved), right: true },
      { head: "Mean speed", cell: (r) => rate(r.speed), right: true },
    ]} />}</Loaded>
  );
}

export function JobPage({ id, runId }: { id: string; runId?: string }) {
  const job = jobs.value.find((j) => j.id === id);
  const wanted = runId && runId !== job?.run?.id ? runId : undefined;
  // The list has few flows of each run; this has all, and is fetched again whenever the list was.
  const whole = useLoad(() => get<Job>(`/jobs/${encodeURIComponent(id)}`), [id, jobs.value]);
  const old = useLoad(() => (wanted ? get<Run>(`/runs/${encodeURIComponent(wanted)}`) : Promise.resolve(null)), [wanted]);
  if (!job) {
    if (loaded.value) return <Missing what="job"><a href={href("jobs")}>All jobs</a></Missing>;
    return <Shared name="jobs" what="the job">{() => <Loading what="the job" />}</Shared>;
  }
  const run = whole.data?.id === job.id && whole.data.run?.id === job.run?.id ? whole.data.run : job.run;
  return (
    <>
      <PageHead title={<>{job.name} <State is={job.state} /></>} sub={<>{KIND[job.kind] ?? job.kind} <Ends of={job.from} /> → <Ends of={job.to} /></>}>
        {may("operate") && <Actions job={job} />}
      </PageHead>
      {wanted ? (
        <>
          <p class="hint">An earlier run. <a href={href("jobs", id)}>The latest</a></p>
          <Loaded of={old} what="the run">{(r) => (r?.id === wanted ? <RunView run={r} /> : <Loading what="the run" />)}</Loaded>
        </>
      ) : run ? (
        <>
          {whole.error && <Failed what="the latest of this run" reason={whole.error} again={whole.again} />}
          <RunView run={run} />
        </>
      ) : <Empty title="It has not run yet" />}
      <Card title="History"><History job={job} /></Card>
    </>
  );
}
