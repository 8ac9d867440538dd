import { useState } from "preact/hooks";
import { items, may, patch, post, put, remove } from "../api";
import { loaded, proxies, refresh } from "../live";
import closeReasons from "../../../src/wire/close_reason.def?raw";
import { ago, bytes, count, duration, percents, rate, rtt, shortId, version } from "../format";
import { go, href } from "../router";
import { Act, Card, Dialog, Empty, Figure, Form, Missing, PageHead, State, Table, Take, Text } from "../ui/parts";
import { Loaded, Shared, usePolled } from "../ui/load";
import { toast } from "../ui/toast";
import { SettingsForm } from "./settings_form";
import { Lines } from "../ui/chart";
import type { Json, Proxy, Sample } from "../types";

const cpu = (n: number | undefined) => (n === undefined ? "–" : percents(n));

export function Proxies({ adding }: { adding?: boolean }) {
  return (
    <>
      <PageHead title="Proxies" sub="They stand where both sides can reach them, and pass what they cannot read.">
        {may("administer") && <a class="button primary" href={href("proxies", "add")}>Add a proxy</a>}
      </PageHead>
      <Card>
        <Shared name="proxies" what="the proxies">{() => proxies.value.length === 0 ? <Empty title="No proxy yet">Without one, agents need to reach the console and each other directly.</Empty> : (
          <Table caption="Proxies" rows={proxies.value} id={(p) => p.id} columns={[
            { head: "Name", cell: (p) => <a href={href("proxies", p.id)}>{p.name}</a>, phone: "title" },
            { head: "State", cell: (p) => <State is={p.draining ? "draining" : p.state} />, phone: "beside" },
            { head: "Address", cell: (p) => p.addresses.join(", "), wide: true },
            { head: "Version", cell: (p) => version(p.report?.software) },
            { head: "Endpoints", cell: (p) => (p.report ? count(p.report.endpoints) : "–"), right: true },
            { head: "Sessions", cell: (p) => (p.report ? count(p.report.sessions) : "–"), right: true },
            { head: "Passed on", cell: (p) => (p.report ? bytes(p.report.bytes) : "–"), right: true },
            { head: "CPU", cell: (p) => cpu(p.report?.cpu_percent), right: true },
            { head: "Round trip", cell: (p) => rtt(p.rtt_us), right: true },
          ]} />
        )}</Shared>
      </Card>
      {adding && <AddProxy />}
    </>
  );
}

function AddProxy() {
  const [name, setName] = useState("");
  const [address, setAddress] = useState("");
  const [config, setConfig] = useState<string | null>(null);
  const close = () => go("proxies");
  const submit = async () => {
    const answer = await post<{ config: Json }>("/proxies", { name, addresses: address.split(",").map((a) => a.trim()).filter(Boolean) });
    setConfig(JSON.stringify(answer.config, null, 2));
    refresh("proxies", "status");
  };
  return (
    <Dialog title={config ? `proxy.json of ${name}` : "Add a proxy"} onClose={close} wide={!!config}>
      {config ? (
        <>
          <p>Put this file on the proxy's machine. It holds the proxy's key and is shown once.</p>
          <Take text={config} file="proxy.json" label="proxy.json" />
          <p>Then start it there:</p>
          <Take text={"apt-get install fairlead-proxy   # or: make install\nfairlead-proxy --config proxy.json"} label="commands to start the proxy" />
          <footer><button type="button" class="primary" onClick={close}>Done</button></footer>
        </>
      ) : (
        <Form submit={submit} button="Make proxy.json" onCancel={close}>
          {(error) => (
            <>
              <Text label="Name" value={name} set={setName} error={error("name")} hint="How people call it; no two have the same." focus />
              <Text label="Address" value={address} set={setAddress} error={error("addresses")} placeholder="relay.example.org:443" hint="HOST:PORT at which agents and the console reach it; several with commas." />
            </>
          )}
        </Form>
      )}
    </Dialog>
  );
}

const perMinute = (n: number) => (n >= 10 || n === 0 ? `${Math.round(n)}/min` : `${n.toFixed(1)}/min`);
const LINES_MAX = 5;

/** Differences between samples, by second; none where the proxy was started again in between. */
function rates(samples: Sample[], of: (s: Sample) => number): (number | null)[] {
  return samples.slice(1).map((s, i) => {
    const before = samples[i];
    const seconds = (Date.parse(s.time) - Date.parse(before.time)) / 1000;
    return s.uptime < before.uptime || seconds <= 0 ? null : Math.max(0, of(s) - of(before)) / seconds;
  });
}

function History({ id, reasons }: { id: string; reasons: Record<string, number> }) {
  const history = usePolled(() => items<Sample>(`/proxies/${id}/history`), [id], 15000);
  return <Loaded of={history} what="the latest hour">{(samples) => <Charts samples={samples} reasons={reasons} />}</Loaded>;
}

function Charts({ samples, reasons }: { samples: Sample[]; reasons: Record<string, number> }) {
  const times = samples.slice(1).map((s) => Date.parse(s.time) / 1000);
  const names = Object.entries(reasons).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]).slice(0, LINES_MAX).map(([name]) => name);
  const soon = <p class="calm">The console looks every 15 seconds; soon there is something to show.</p>;
  const there = times.length >= 2;
  const least = there ? Math.min(...samples.map((s) => s.cpu_us)) : 0;
  return (
    <div class="columns even">
      <Card title="Passed on">{!there ? soon : <Lines label="Passed on" times={times} lines={[{ label: "bytes", values: rates(samples, (s) => s.bytes) }]} show={rate} least={125000} />}</Card>
      <Card title="Why connections ended">
        {names.length > 0 && !there && soon}
        {there && names.length > 0 && (
          <Lines label="Ends by reason" times={times} show={perMinute} least={4}
            lines={names.map((name) => ({ label: name, values: rates(samples, (s) => s.reasons[name] ?? 0).map((r) => (r === null ? null : r * 60)) }))} />
        )}
        <details open={!there}><summary>All since its start</summary><Reasons reasons={reasons} /></details>
      </Card>
      {there && <Card title="Turned away"><Lines label="Turned away" times={times} show={perMinute} least={4} lines={[{ label: "refusals", values: rates(samples, (s) => s.refused).map((r) => (r === null ? null : r * 60)) }]} /></Card>}
      {there && least > 0 && <Card title="Processor, of one core"><Lines label="Processor" times={times} show={percents} least={5} lines={[{ label: "used", values: rates(samples, (s) => s.cpu_us).map((r) => (r === null ? null : r / 1e4)) }]} /></Card>}
    </div>
  );
}

/** Why a connection ends, by name: as the proxy's own table has it. */
const MEANINGS = Object.fromEntries([...closeReasons.matchAll(/^CLOSE_REASON\(.*?"(.*?)", *"(.*?)"\)$/gm)].map(([, name, text]) => [name, text]));

function Reasons({ reasons }: { reasons: Record<string, number> }) {
  const rows = Object.entries(reasons).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  if (!rows.length) return <p class="calm">None yet.</p>;
  return <Table caption="Ends by reason" rows={rows} id={(r) => r[0]} columns={[
    { head: "Reason", cell: (r) => r[0], phone: "title" }, { head: "Which means", cell: (r) => MEANINGS[r[0]] ?? "–", wide: true, phone: "bare" }, { head: "Count", cell: (r) => count(r[1]), right: true, phone: "beside" },
  ]} />;
}

function Actions({ proxy }: { proxy: Proxy }) {
  const path = `/proxies/${proxy.id}`;
  const act = (what: string) => async () => {
    await post(`${path}/${what}`);
    refresh("proxies");
  };
  return (
    <>
      {proxy.draining ? <Act act={act("resume")}>Resume</Act>
        : <Act act={act("drain")} ask={`Drain ${proxy.name}? It takes no new sessions, and its agents move to other proxies. What runs may finish.`}>Drain</Act>}
      <Act class="danger" ask={`Remove ${proxy.name}? Its identity is denied for good.`} act={async () => { await remove(path); refresh("proxies", "status"); go("proxies"); }}>Remove</Act>
    </>
  );
}

const NAMES_SHOWN = 12;

function Names({ list, none }: { list: { id: string; name: string }[]; none: string }) {
  if (!list.length) return <>{none}</>;
  return <>{list.slice(0, NAMES_SHOWN).map((a) => <a class="tag" key={a.id} href={href("agents", a.id)}>{a.name}</a>)}{list.length > NAMES_SHOWN && ` and ${count(list.length - NAMES_SHOWN)} more`}</>;
}

/** How often agents choose it, and who may: what holds now. Who may is changed by the settings, the weight here, since it is the console's. */
function Use({ proxy }: { proxy: Proxy }) {
  const [weight, setWeight] = useState<string | null>(null);
  const save = async () => {
    await patch(`/proxies/${proxy.id}`, { weight: Number(weight) });
    setWeight(null);
    toast("its agents are told");
    refresh("proxies");
  };
  return (
    <Card title="Who uses it">
      <div class="columns">
        <dl>
          <dt>Allowed agents</dt><dd>{proxy.agents ? <Names list={proxy.agents} none="all" /> : "not known while it is not connected"}</dd>
          <dt>Syncthing devices</dt><dd>{!proxy.syncthing_allow ? "not known while it is not connected" : proxy.syncthing_allow.length ? proxy.syncthing_allow.map((d) => <code class="wrap" key={d}>{d} </code>) : "none"}</dd>
          {!may("administer") && <><dt>Weight</dt><dd>{proxy.weight}</dd></>}
        </dl>
        {may("administer") && (
          <Form button="Set the weight" submit={save}>
            {(error) => <Text label="Weight" value={weight ?? String(proxy.weight)} set={setWeight} error={error("weight")} hint="1 to 1000; of proxies about as near, one of twice the weight is chosen twice as often. Default: 100" />}
          </Form>
        )}
      </div>
    </Card>
  );
}

function aboutOf(proxy: Proxy): string {
  const r = proxy.report;
  const now = proxy.state === "connected" && r ? [`up ${duration(r.uptime)}`, `round trip ${rtt(proxy.rtt_us)}`] : [];
  const told = r ? [`version ${version(r.software)}`, ...now] : [];
  return [proxy.addresses.join(", "), ...told, `id ${shortId(proxy.id)}`].join(" · ");
}

export function ProxyPage({ id }: { id: string }) {
  const proxy = proxies.value.find((p) => p.id === id);
  if (!proxy) return loaded.value ? <Missing what="proxy"><a href={href("proxies")}>All proxies</a></Missing> : <p class="calm">Loading…</p>;
  const r = proxy.report;
  return (
    <>
      <PageHead title={<>{proxy.name} <State is={proxy.draining ? "draining" : proxy.state} /></>} sub={aboutOf(proxy)}>
        {may("administer") && <Actions proxy={proxy} />}
      </PageHead>
      {proxy.error && proxy.state !== "connected" && <p class="failed" role="alert"><span><strong>It cannot be reached: {proxy.error}.</strong>{r && " What is shown is what it reported last."}</span></p>}
      {r ? (
        <div class="figures">
          <Figure label="Endpoints" value={count(r.endpoints)} />
          <Figure label="Sessions" value={count(r.sessions)} hint={`${count(r.sessions_total)} since its start`} />
          <Figure label="Passed on" value={bytes(r.bytes)} />
          <Figure label="Refused" value={count(r.refused)} hint={`of ${count(r.accepted)} connections`} />
          <Figure label="Processor" value={cpu(r.cpu_percent)} hint={r.cpu_us === undefined ? "of one core: not told" : `of one core; ${duration(r.cpu_us / 1e6)} in all`} />
          <Figure label="Memory" value={bytes(r.memory)} />
        </div>
      ) : <p class="calm">It has not reported yet{proxy.since ? ` (${ago(proxy.since)})` : ""}.</p>}
      {r && <History id={id} reasons={r.reasons} />}
      <Use proxy={proxy} />
      <Card title="Settings" action={proxy.settings && <State is={proxy.settings.state === "none" ? "as in its file" : proxy.settings.state} />}>
        {proxy.settings ? (
          <SettingsForm kind="proxy" wanted={proxy.settings.wanted} effective={proxy.settings.effective} disabled={!may("administer")} error={proxy.settings.error}
            save={async (wanted) => { await put(`/proxies/${proxy.id}/settings`, wanted); toast("sent to the proxy"); refresh("proxies"); }} />
        ) : <p class="calm">This console cannot change them.</p>}
      </Card>
    </>
  );
}
