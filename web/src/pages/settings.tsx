import { useState } from "preact/hooks";
import { call, findSession, items, may, patch, post, reasonOf, remove, session } from "../api";
import { status } from "../live";
import { clock, duration } from "../format";
import { Act, Card, Check, Choice, Dialog, Empty, Figure, Form, PageHead, State, Table, Take, Text } from "../ui/parts";
import { Loaded, useLoad } from "../ui/load";
import { Hooks, MailServer } from "./notify";
import { theme, type Theme } from "../theme";
import { moves, setMoves } from "../motion";
import { toast } from "../ui/toast";

interface User { name: string; role: string; disabled: boolean; totp: boolean; last_login: string | null }
interface Token { id: string; name: string; scope: string; created: string | null; expires: string | null; last_used: string | null }

const ROLES: [string, string][] = [["viewer", "viewer: sees everything"], ["operator", "operator: runs jobs"], ["admin", "admin: changes everything"]];

export function PasswordForm({ done }: { done?: () => void }) {
  const [old, setOld] = useState("");
  const [fresh, setFresh] = useState("");
  const [again, setAgain] = useState("");
  const submit = async () => {
    if (fresh !== again) throw new Error("the two new passwords differ");
    await post("/session/password", { old, new: fresh });
    await findSession();
    toast("password changed");
    setOld(""), setFresh(""), setAgain("");
    done?.();
  };
  return (
    <Form submit={submit} button="Change the password">
      {(error) => (
        <>
          <Text type="password" label="Present password" value={old} set={setOld} complete="current-password" error={error("old")} />
          <Text type="password" label="New password" value={fresh} set={setFresh} complete="new-password" error={error("new")} hint="At least 12 characters." />
          <Text type="password" label="New password again" value={again} set={setAgain} complete="new-password" />
        </>
      )}
    </Form>
  );
}

/** @rows: a QR code, a string of 0 and 1 for each row. */
function QrCode({ rows }: { rows: string[] }) {
  const size = rows.length + 8;
  const path = rows.flatMap((row, y) => [...row].map((bit, x) => (bit === "1" ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  return <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label="QR code for an authenticator app"><rect width={size} height={size} fill="#fff" /><path d={path} fill="#000" /></svg>;
}

function Totp() {
  const [offer, setOffer] = useState<{ secret: string; uri: string; qr: string[] } | null>(null);
  const [code, setCode] = useState("");
  const [password, setPassword] = useState("");
  if (session.value?.totp)
    return (
      <Form button="Turn off" danger submit={async () => { await call("DELETE", "/session/totp", { password }); await findSession(); setPassword(""); }}>
        {(error) => <><p><State is="applied" /> A code of your authenticator app is asked for at login.</p><Text type="password" label="Password, to turn it off" value={password} set={setPassword} complete="current-password" error={error("password")} /></>}
      </Form>
    );
  if (!offer) return <><p>Besides your password, a code from an app on your phone that changes every 30 seconds.</p><Act act={async () => setOffer(await post("/session/totp"))}>Set up</Act></>;
  return (
    <Form button="Confirm" submit={async () => { await post("/session/totp/confirm", { code }); await findSession(); setOffer(null); setCode(""); toast("second factor on"); }}>
      {(error) => (
        <>
          <p>Scan this with an authenticator app, or type the secret in, then give the code that it shows.</p>
          <QrCode rows={offer.qr} />
          <Take text={offer.secret} label="secret" />
          <Text label="Code" value={code} set={setCode} error={error("code")} complete="one-time-code" focus />
        </>
      )}
    </Form>
  );
}

function AddUser({ done }: { done: () => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("viewer");
  const [password, setPassword] = useState<string | null>(null);
  return (
    <Dialog title="Add a user" onClose={done}>
      {password ? (
        <><p>The first password of {name}; it is to be changed at the first login.</p><Take text={password} label="password" /><footer><button type="button" class="primary" onClick={done}>Done</button></footer></>
      ) : (
        <Form button="Add" onCancel={done} submit={async () => setPassword((await post<{ password: string }>("/users", { name, role })).password)}>
          {(error) => <><Text label="Name" value={name} set={setName} error={error("name")} focus /><Choice label="Role" value={role} set={setRole} of={ROLES} error={error("role")} /></>}
        </Form>
      )}
    </Dialog>
  );
}

/** The choice holds at once, also for whoever is logged in. */
function RoleSelect({ user, set }: { user: User; set: (role: string) => void }) {
  return (
    <select class="small" aria-label={`Role of ${user.name}`} value={user.role} onChange={(e) => set(e.currentTarget.value)}>
      {ROLES.map(([role, text]) => <option value={role} title={text} key={role}>{role}</option>)}
    </select>
  );
}

function Users() {
  const users = useLoad(() => items<User>("/users"), []);
  const { again } = users;
  const [adding, setAdding] = useState(false);
  const [fresh, setFresh] = useState<{ name: string; password: string } | null>(null);
  const change = (u: User, to: object) => async () => { await patch(`/users/${u.name}`, to); again(); };
  const setRole = (u: User) => async (role: string) => {
    try {
      await patch(`/users/${u.name}`, { role });
      toast(`${u.name} is ${role} from now on`);
    } catch (error) {
      toast(reasonOf(error), "bad");
    }
    again(); // as it is, also when it was refused
  };
  return (
    <Card title="Users" action={<button type="button" onClick={() => setAdding(true)}>Add</button>}>
      <Loaded of={users} what="the users">{(rows) => <Table caption="Users" rows={rows} id={(u) => u.name} columns={[
        { head: "Name", cell: (u) => <>{u.name}{u.disabled && <> <State is="disabled" /></>}</>, phone: "title" },
        { head: "Role", cell: (u) => (u.name === session.value?.user ? u.role : <RoleSelect user={u} set={setRole(u)} />) },
        { head: "Second factor", cell: (u) => (u.totp ? "yes" : "no") },
        { head: "Last login", cell: (u) => clock(u.last_login) },
        { head: "", cell: (u) => u.name !== session.value?.user && (
          <span class="row-actions">
            <Act act={change(u, { disabled: !u.disabled })}>{u.disabled ? "Enable" : "Disable"}</Act>
            <Act ask={`A new password for ${u.name}? Its sessions end.`} act={async () => setFresh({ name: u.name, password: (await post<{ password: string }>(`/users/${u.name}/password`)).password })}>New password</Act>
            <Act class="danger" ask={`Remove ${u.name}?`} act={async () => { await remove(`/users/${u.name}`); again(); }}>Remove</Act>
          </span>
        ), right: true },
      ]} />}</Loaded>
      {adding && <AddUser done={() => { setAdding(false); again(); }} />}
      {fresh && <Dialog title={`Password of ${fresh.name}`} onClose={() => setFresh(null)}><Take text={fresh.password} label="password" /></Dialog>}
    </Card>
  );
}

function AddToken({ done }: { done: () => void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState("viewer");
  const [days, setDays] = useState("90");
  const [token, setToken] = useState<string | null>(null);
  return (
    <Dialog title="Add a token" onClose={done}>
      {token ? (
        <><p>Shown once. For the command: <code>fairlead --token-file FILE</code></p><Take text={token} file="token" label="token" /><footer><button type="button" class="primary" onClick={done}>Done</button></footer></>
      ) : (
        <Form button="Make" onCancel={done} submit={async () => setToken((await post<{ token: string }>("/tokens", { name, scope, days: Number(days) })).token)}>
          {(error) => (
            <>
              <Text label="Name" value={name} set={setName} error={error("name")} hint="Where it is used." focus />
              <Choice label="May do" value={scope} set={setScope} of={ROLES} error={error("scope")} />
              <Text label="Days" value={days} set={setDays} error={error("days")} hint="For so long it is valid." />
            </>
          )}
        </Form>
      )}
    </Dialog>
  );
}

function Tokens() {
  const tokens = useLoad(() => items<Token>("/tokens"), []);
  const { again } = tokens;
  const [adding, setAdding] = useState(false);
  return (
    <Card title="Tokens for scripts" action={<button type="button" onClick={() => setAdding(true)}>Add</button>}>
      <Loaded of={tokens} what="the tokens">{(rows) => rows.length === 0 ? <Empty title="No token">Scripts use them instead of a password.</Empty> : <Table caption="Tokens" rows={rows} id={(t) => t.id} columns={[
        { head: "Name", cell: (t) => t.name, phone: "title" },
        { head: "May do", cell: (t) => t.scope },
        { head: "Until", cell: (t) => (t.expires ? clock(t.expires) : "for ever") },
        { head: "Last used", cell: (t) => clock(t.last_used) },
        { head: "", cell: (t) => <Act class="danger" ask={`Remove the token ${t.name}?`} act={async () => { await remove(`/tokens/${t.id}`); again(); }}>Remove</Act>, right: true },
      ]} />}</Loaded>
      {adding && <AddToken done={() => { setAdding(false); again(); }} />}
    </Card>
  );
}

function Backup() {
  return (
    <Card title="Backup">
      <p>All that this console knows in one file: keys, proxies, agents, jobs, users, history. Keep it safe: whoever has it can act as this console.</p>
      <p><a class="button" href="/api/v1/backup" download>Save a backup</a></p>
      <p class="hint">From scripts: <code>fairlead backup FILE</code>. To restore one: <code>fairlead-console --restore FILE --state DIR</code></p>
    </Card>
  );
}

export function Settings() {
  const s = status.value;
  return (
    <>
      <PageHead title="Settings" />
      {s && (
        <div class="figures">
          <Figure label="Version" value={s.version} hint={`up ${duration(s.uptime)}`} />
          <Figure label="Console id" value={<code>{s.console_id.slice(0, 16)}</code>} />
          <Figure wide label="Fingerprint of its authority" value={<code class="wrap">{s.fingerprint}</code>} hint="cert_authority_fingerprint in agent.json" />
        </div>
      )}
      <div class="columns">
        <div class="stack">
          <Card title="This page">
            <Choice label="Colours" value={theme.value} set={(v) => { theme.value = v as Theme; }} of={[["system", "as the system"], ["light", "light"], ["dark", "dark"]]} />
            <Check value={moves()} set={setMoves} label="Moving lines on the map" />
          </Card>
          <Card title="Second factor"><Totp /></Card>
        </div>
        <Card title="Your password"><PasswordForm /></Card>
      </div>
      {may("administer") && <><Users /><Tokens /><Hooks /><div class="columns"><MailServer /><Backup /></div></>}
    </>
  );
}
