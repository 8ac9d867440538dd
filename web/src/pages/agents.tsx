import { useEffect, useState } from "preact/hooks";
import { get, items, may, patch, post, put } from "../api";
import { agents, flows, jobs, loaded, proxies, refresh } from "../live";
import { ago, clock, rate, shortId, version } from "../format";
import { go, href } from "../router";
import { Act, Card, Check, Choice, Dialog, Empty, Figure, Form, Missing, PageHead, State, Table, Take, Text } from "../ui/parts";
import { Route } from "../ui/ends";
import { Ways } from "../ui/ways";
import { Loaded, Shared, useLoad, usePolled, type Load } from "../ui/load";
import { toast } from "../ui/toast";
import { fits, wordsOf } from "../search";
import { Lines } from "../ui/chart";
import { KeyFields, SettingsForm, jsonOf, type Settings as Values } from "./settings_form";
import type { ActiveFlow, Agent, AgentThroughput, Json, Punches, SettingsOfAgent, Tunnel } from "../types";

const tagsOf = (text: string) => text.split(",").map((t) => t.trim()).filter(Boolean);

function Tags({ of }: { of: string[] }) {
  return <>{of.map((tag) => <span class="tag" key={tag}>{tag}</span>)}</>;
}

export function Agents({ adding, bulk, find }: { adding?: boolean; bulk?: boolean; find?: string }) {
  const [wanted, setWanted] = useState(find ?? "");
  const words = wordsOf(wanted);
  const shown = agents.value.filter((a) => fits(a, words));
  const tagged = agents.value.some((a) => a.tags.length > 0);
  return (
    <>
      <PageHead title="Agents" sub="They stand where the folders are, and only dial out.">
        {agents.value.length > 0 && <input type="search" aria-label="Search agents" placeholder="name, tag, state…" value={wanted} onInput={(e) => setWanted(e.currentTarget.value)} />}
        {may("administer") && tagged && <a class="button" href={href("agents", "by-tag")}>Settings by tag</a>}
        {may("administer") && <a class="button primary" href={href("agents", "add")}>Add an agent</a>}
      </PageHead>
      <Card>
        <Shared name="agents" what="the agents">{() => shown.length === 0 ? <Empty title={agents.value.length ? "None fits" : "No agent yet"}>{agents.value.length ? "Try fewer words." : "Make an agent.json, and start an agent with it."}</Empty> : (
          <Table caption="Agents" rows={shown} id={(a) => a.id} columns={[
            { head: "Name", cell: (a) => <a href={href("agents", a.id)}>{a.name}</a>, phone: "title" },
            { head: "State", cell: (a) => <State is={a.state} />, phone: "beside" },
            { head: "Path to the console", cell: (a) => <Route of={a.path} /> },
            { head: "Tags", cell: (a) => <Tags of={a.tags} />, wide: true },
            { head: "Version", cell: (a) => version(a.software) },
            { head: "Last seen", cell: (a) => ago(a.last_seen), right: true },
          ]} />
        )}</Shared>
      </Card>
      {adding && <AddAgent />}
      {bulk && <ByTag />}
    </>
  );
}

/** How what was ordered stands at each agent with the tag; asked for anew until nobody who is there is waited for. */
function useTagged(tag: string, ordered: SettingsOfAgent[] | null): SettingsOfAgent[] {
  const [now, setNow] = useState<SettingsOfAgent[]>([]);
  useEffect(() => {
    if (!ordered) return undefined;
    setNow(ordered);
    const look = () => items<SettingsOfAgent>(`/agent-settings?tag=${encodeURIComponent(tag)}`).then(setNow, () => undefined);
    const timer = window.setInterval(look, 1500);
    return () => window.clearInterval(timer);
  }, [tag, ordered]);
  return now.map((agent) => ({ ...agent, problem: ordered?.find((o) => o.id === agent.id)?.problem }));
}

function Outcome({ list }: { list: SettingsOfAgent[] }) {
  const of = (state: string) => list.filter((a) => a.settings.state === state && !a.problem).length;
  const counts = [["applied", of("applied")], ["waiting", of("waiting")], ["refused", of("refused") + list.filter((a) => a.problem).length]] as const;
  return (
    <>
      <p role="status">{counts.filter(([, n]) => n > 0).map(([state, n]) => <span key={state}><State is={state} /> {n} </span>)}</p>
      <Table caption="How it stands" rows={list} id={(a) => a.id} columns={[
        { head: "Agent", cell: (a) => <a href={href("agents", a.id)}>{a.name}</a>, phone: "title" },
        { head: "There", cell: (a) => <State is={a.state} />, phone: "beside" },
        { head: "Settings", cell: (a) => <><State is={a.problem ? "refused" : a.settings.state} />{(a.problem ?? a.settings.error) && <div class="hint">{a.problem ?? a.settings.error}</div>}</>, wide: true },
      ]} />
    </>
  );
}

/** One order for all agents with a tag; what is left empty stays as it is at each. */
function ByTag() {
  const tags = [...new Set(agents.value.flatMap((a) => (a.state === "revoked" ? [] : a.tags)))].sort();
  const [tag, setTag] = useState(tags[0] ?? "");
  const [values, setValues] = useState<Values>({});
  const [ordered, setOrdered] = useState<SettingsOfAgent[] | null>(null);
  const now = useTagged(tag, ordered);
  const close = () => go("agents");
  const many = agents.value.filter((a) => a.tags.includes(tag) && a.state !== "revoked").length;
  const submit = async () => {
    const order = jsonOf(values, "agent");
    if (Object.keys(order).length === 0) throw new Error("nothing is to be changed: fill in a field");
    const answer = await patch<{ items: SettingsOfAgent[] }>(`/agent-settings?tag=${encodeURIComponent(tag)}`, order);
    setOrdered(answer.items);
  };
  if (ordered) {
    return (
      <Dialog title={`Settings of all with “${tag}”`} onClose={close} wide>
        <Outcome list={now} />
        <footer><button type="button" class="primary" onClick={close}>Done</button></footer>
      </Dialog>
    );
  }
  return (
    <Dialog title="Settings by tag" onClose={close} wide>
      <Form submit={submit} button={`Apply to ${many} ${many === 1 ? "agent" : "agents"}`} onCancel={close}>
        {(error) => (
          <>
            <Choice label="Tag" value={tag} set={setTag} error={error("tag")} hint="All agents that carry it, also those that are away: they get it when they come." of={tags.map((t): [string, string] => [t, t])} />
            <KeyFields kind="agent" values={values} set={(path) => (value) => setValues({ ...values, [path]: value })} error={error} now={{}} unset="as it is at each" />
          </>
        )}
      </Form>
    </Dialog>
  );
}

function AddAgent() {
  const [tags, setTags] = useState("");
  const [via, setVia] = useState<string[]>(proxies.value.filter((p) => p.state === "connected").map((p) => p.name));
  const [approval, setApproval] = useState(false);
  const [config, setConfig] = useState<string | null>(null);
  const close = () => go("agents");
  const submit = async () => {
    const answer = await post<{ config: Json }>("/agent-configs", { via, tags: tagsOf(tags), approval });
    setConfig(JSON.stringify(answer.config, null, 2));
  };
  const toggle = (name: string) => (on: boolean) => setVia(on ? [...via, name] : via.filter((v) => v !== name));
  return (
    <Dialog title={config ? "agent.json" : "Add an agent"} onClose={close} wide={!!config}>
      {config ? (
        <>
          <p>Put this file on each machine that is to be an agent. It lets them in for 30 days; keep it to yourself.</p>
          <Take text={config} file="agent.json" label="agent.json" />
          <p>Then start it there:</p>
          <Take text={"fairlead-agent --config agent.json --state /var/lib/fairlead-agent"} label="command to start the agent" />
          <footer><button type="button" class="primary" onClick={close}>Done</button></footer>
        </>
      ) : (
        <Form submit={submit} button="Make agent.json" onCancel={close}>
          {(error) => (
            <>
              <fieldset>
                <legend>Reach the console through</legend>
                {proxies.value.map((p) => <Check key={p.id} value={via.includes(p.name)} set={toggle(p.name)} label={<>{p.name} <State is={p.state} /></>} />)}
                <p class={error("via") ? "error" : "hint"}>{error("via") ?? (proxies.value.length ? "With none chosen it comes directly." : "There is no proxy: it comes directly.")}</p>
              </fieldset>
              <Text label="Tags" value={tags} set={setTags} error={error("tags")} hint="Words to find and order them by, with commas between: branch, nas" />
              <Check value={approval} set={setApproval} label="I approve each newcomer first" />
            </>
          )}
        </Form>
      )}
    </Dialog>
  );
}

function Actions({ agent }: { agent: Agent }) {
  const act = (what: string) => async () => {
    await post(`/agents/${agent.id}/${what}`);
    toast(`${agent.name}: ${what}d`);
    refresh("agents", "status");
  };
  return (
    <>
      {agent.state === "pending" && <Act class="primary" act={act("approve")}>Approve</Act>}
      {agent.state !== "revoked" && <Act class="danger" act={act("revoke")} ask={`Revoke ${agent.name}? It loses every connection at once, and for good.`}>Revoke</Act>}
    </>
  );
}

/** How often it got through to another agent without a proxy, NATs in between. */
function Holes({ punches }: { punches: Punches | undefined }) {
  if (!punches || punches.tried === 0) return null;
  const why = Object.entries(punches.vain).map(([name, n]) => `${name} ${n}`).join(", ");
  return <Figure label="Holes punched" value={`${punches.through} of ${punches.tried}`} hint={why || `since ${clock(punches.since)}`} />;
}

/** What the console wants of it, and how that went. */
function SettingsCard({ agent, whole }: { agent: Agent; whole: Load<Agent> }) {
  const state = whole.data?.settings?.state;
  const save = async (wanted: Json) => {
    await put(`/agents/${agent.id}/settings`, wanted);
    toast(agent.state === "online" ? "sent to the agent" : "kept until it comes");
    whole.again();
  };
  return (
    <Card title="Settings" action={state && <State is={state === "none" ? "as in its file" : state} />}>
      <Loaded of={whole} what="its settings">{({ settings }) => settings && (
        <SettingsForm kind="agent" wanted={settings.wanted} effective={settings.effective} disabled={!may("administer")} error={settings.error} save={save} />
      )}</Loaded>
    </Card>
  );
}

/** What it sent and received over the latest hour, as the console has kept it. */
function Hour({ id }: { id: string }) {
  const hour = usePolled(() => items<AgentThroughput>(`/agents/${id}/throughput`), [id], 10000);
  return (
    <Card title="Throughput">
      <Loaded of={hour} what="its throughput">{(samples) => !samples.some((s) => s.sent || s.received) ? <p class="calm">Nothing was moved in the latest hour.</p> : (
        <Lines label="Throughput" times={samples.map((s) => Date.parse(s.time) / 1000)} show={rate} least={125000}
          lines={[{ label: "sent", values: samples.map((s) => s.sent) }, { label: "received", values: samples.map((s) => s.received) }]} />
      )}</Loaded>
    </Card>
  );
}

export function AgentPage({ id }: { id: string }) {
  const agent = agents.value.find((a) => a.id === id);
  if (agent) return <AgentView agent={agent} />;
  return loaded.value ? <Missing what="agent"><a href={href("agents")}>All agents</a></Missing> : <p class="calm">Loading…</p>;
}

function AgentView({ agent }: { agent: Agent }) {
  const { id } = agent;
  const whole = usePolled(() => get<Agent>(`/agents/${id}`), [id, agent.state], 5000); // it has more than the list has
  const under = useLoad(() => items<ActiveFlow>(`/flows?agent=${id}`), [id, flows.value, jobs.value]);
  const tunnels = useLoad(() => items<Tunnel>("/tunnels"), [flows.value, jobs.value]);
  const ways = (tunnels.data ?? []).filter((w) => w.source.id === id || w.target.id === id);
  return (
    <>
      <PageHead title={<>{agent.name} <State is={agent.state} /></>} sub={<>{agent.system || "unknown system"} · id {shortId(agent.id)} <Tags of={agent.tags} /></>}>
        {may("administer") && <Actions agent={agent} />}
      </PageHead>
      <div class="figures">
        <Figure label="Path to the console" value={agent.path ? <Route of={agent.path} /> : "none"} />
        <Figure label="Last seen" value={ago(agent.last_seen)} hint={`first ${clock(agent.first_seen)}`} />
        <Figure label="Certificate until" value={agent.expires?.slice(0, 10) ?? "–"} hint="renewed by itself before that" />
        <Figure label="Listens at" value={agent.addresses.length ? <ul class="plain-list">{agent.addresses.map((a) => <li key={a}><code>{a}</code></li>)}</ul> : "nowhere"} hint={agent.addresses.length ? "for direct ways" : "it only dials out"} />
        <Figure label="Version" value={version(agent.software)} />
        <Holes punches={whole.data?.punches} />
      </div>
      <Card title="Transfers">
        <Loaded of={under} what="its transfers">{(list) => list.length === 0 ? <p class="calm">None is under way.</p> : (
          <Table caption="Transfers" rows={list} id={(f) => f.id} columns={[
            { head: "Job", cell: (f) => <a href={href("jobs", f.job)}>{f.job_name}</a>, phone: "title" },
            { head: "With", cell: (f) => (f.source.id === id ? `to ${f.target.name}` : `from ${f.source.name}`) },
            { head: "State", cell: (f) => <><State is={f.state} />{f.text && <div class="hint">{f.text}</div>}</>, phone: "beside" },
            { head: "Path", cell: (f) => <Route of={f.path} /> },
            { head: "Speed", cell: (f) => rate(f.speed), right: true },
          ]} />
        )}</Loaded>
      </Card>
      <Hour id={id} />
      {(ways.length > 0 || tunnels.error) && <Card title="Ways"><Loaded of={tunnels} what="the ways">{() => <Ways ways={ways} agent={id} />}</Loaded></Card>}
      {agent.state !== "revoked" && agent.state !== "pending" && <SettingsCard agent={agent} whole={whole} />}
    </>
  );
}
