// Whom the console notifies, and the mail server.
import { useState } from "preact/hooks";
import { get, items, patch, post, put, remove } from "../api";
import { ago } from "../format";
import { Act, Card, Check, Choice, Dialog, Form, State, Table, Take, Text } from "../ui/parts";
import { Loaded, useLoad, usePolled } from "../ui/load";
import { toast } from "../ui/toast";

interface Delivery { n: number; event: string; state: string; attempts: number; error: string; created: string }
interface Hook { id: string; name: string; kind: string; target: string; events: string[]; enabled: boolean; waiting: number; last: Delivery | null }
interface Mail { server: string; from: string; user: string; starttls: boolean; password_set: boolean }

const EVENTS: [string, string][] = [
  ["run.failed", "a run failed, or was done in part"], ["run.finished", "a run ended, however"],
  ["agent.missing", "an agent is missing"], ["agent.back", "an agent is back"], ["proxy.missing", "a proxy is missing"], ["proxy.back", "a proxy is back"],
];

function AddHook({ done }: { done: () => void }) {
  const [name, setName] = useState("");
  const [kind, setKind] = useState("webhook");
  const [target, setTarget] = useState("");
  const [events, setEvents] = useState(["run.failed", "agent.missing", "proxy.missing"]);
  const [secret, setSecret] = useState<string | null>(null);
  const web = kind === "webhook";
  const submit = async () => {
    const made = await post<{ secret: string }>("/hooks", { name, kind, target, events });
    if (made.secret) setSecret(made.secret);
    else done();
  };
  return (
    <Dialog title="Notify somebody" onClose={done}>
      {secret ? (
        <>
          <p>Shown once. Each message carries <code>X-Fairlead-Signature</code>: <code>sha256=</code> and the HMAC-SHA256 of the timestamp, a dot and the body, keyed with this secret.</p>
          <Take text={secret} label="secret of the hook" />
          <footer><button type="button" class="primary" onClick={done}>Done</button></footer>
        </>
      ) : (
        <Form button="Add" onCancel={done} submit={submit}>
          {(error) => (
            <>
              <Choice label="How" value={kind} set={setKind} of={[["webhook", "a web server, by a signed POST"], ["mail", "a person, by mail"]]} error={error("kind")} />
              <Text label="Name" value={name} set={setName} error={error("name")} hint="How people call it; no two have the same." focus />
              <Text label={web ? "URL" : "Address"} value={target} set={setTarget} error={error("target")} placeholder={web ? "https://tickets.example.org/in" : "ops@example.org"} />
              <fieldset>
                <legend>When</legend>
                {EVENTS.map(([key, text]) => <Check key={key} value={events.includes(key)} set={(on) => setEvents(on ? [...events, key] : events.filter((e) => e !== key))} label={text} />)}
                {error("events") && <p class="error" role="alert">{error("events")}</p>}
              </fieldset>
            </>
          )}
        </Form>
      )}
    </Dialog>
  );
}

function Last({ hook }: { hook: Hook }) {
  const last = hook.last;
  if (!last) return <>nothing yet</>;
  return <><State is={last.state} /> <span class="hint">{last.event}, {ago(last.created)}{last.error && `: ${last.error}`}</span></>;
}

export function Hooks() {
  const hooks = usePolled(() => items<Hook>("/hooks"), [], 5000);
  const { again } = hooks;
  const [adding, setAdding] = useState(false);
  const act = (what: () => Promise<unknown>, text?: string) => async () => {
    await what();
    if (text) toast(text);
    again();
  };
  return (
    <Card title="Notifications" action={<button type="button" onClick={() => setAdding(true)}>Add</button>}>
      <Loaded of={hooks} what="the notifications">{(rows) => rows.length === 0 ? <p class="calm">Nobody is notified of runs that fail and of agents or proxies that are missing.</p> : (
        <Table caption="Notifications" rows={rows} id={(h) => h.id} columns={[
          { head: "Name", cell: (h) => h.name, phone: "title" },
          { head: "To", cell: (h) => h.target, wide: true },
          { head: "When", cell: (h) => h.events.map((e) => <span class="tag" key={e}>{e}</span>), wide: true },
          { head: "Latest", cell: (h) => (h.enabled ? <Last hook={h} /> : <State is="off" />), wide: true },
          { head: "", cell: (h) => (
            <span class="row-actions">
              <Act act={act(() => post(`/hooks/${h.id}/test`), "a test is on its way")}>Test</Act>
              <Act act={act(() => patch(`/hooks/${h.id}`, { enabled: !h.enabled }))}>{h.enabled ? "Off" : "On"}</Act>
              <Act class="danger" ask={`Notify ${h.name} no more?`} act={act(() => remove(`/hooks/${h.id}`))}>Remove</Act>
            </span>
          ), right: true },
        ]} />
      )}</Loaded>
      {adding && <AddHook done={() => { setAdding(false); again(); }} />}
    </Card>
  );
}

export function MailServer() {
  const found = useLoad(() => get<Mail>("/mail"), []);
  const [typed, setMail] = useState<Mail | null>(null);
  const [password, setPassword] = useState("");
  const mail = typed ?? found.data;
  if (!mail) return <Card title="Mail server"><Loaded of={found} what="the mail server">{() => null}</Loaded></Card>;
  const set = (name: "server" | "from" | "user") => (value: string) => setMail({ ...mail, [name]: value });
  const submit = async () => {
    const { server, from, user, starttls } = mail;
    setMail(await put<Mail>("/mail", { server, from, user, starttls, ...(password ? { password } : {}) }));
    setPassword("");
    toast("saved");
  };
  return (
    <Card title="Mail server">
      <Form button="Save" submit={submit}>
        {(error) => (
          <>
            <div class="grid">
              <Text label="Server" value={mail.server} set={set("server")} error={error("server")} placeholder="smtp://mail:587" hint="Empty: no mail is sent." />
              <Text label="From" value={mail.from} set={set("from")} error={error("from")} placeholder="fairlead@example.org" />
              <Text label="User" value={mail.user} set={set("user")} error={error("user")} hint="Empty: it does not log in." />
              <Text label="Password of the mail server" type="password" value={password} set={setPassword} error={error("password")} complete="new-password" hint={mail.password_set ? "One is set; empty: it stays." : "None is set."} />
            </div>
            <Check value={mail.starttls} set={(starttls) => setMail({ ...mail, starttls })} label="Send nothing without TLS" />
            {error("starttls") && <p class="error" role="alert">{error("starttls")}</p>}
          </>
        )}
      </Form>
    </Card>
  );
}
