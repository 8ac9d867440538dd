import { render } from "preact";
import { useEffect } from "preact/hooks";
import "./style.css";
import "./theme";
import "./motion";
import { findSession, logout, session } from "./api";
import { start, status, stop } from "./live";
import { href, route } from "./router";
import { Banner } from "./ui/banner";
import { Empty } from "./ui/parts";
import { Toasts } from "./ui/toast";
import { AgentPage, Agents } from "./pages/agents";
import { Audit, Events } from "./pages/events";
import { JobPage, Jobs } from "./pages/jobs";
import { FirstPassword, Login } from "./pages/login";
import { Attention, Overview } from "./pages/overview";
import { Proxies, ProxyPage } from "./pages/proxies";
import { Settings } from "./pages/settings";
import { Wizard } from "./pages/wizard";

const NAV: [string, string][] = [["", "Overview"], ["proxies", "Proxies"], ["agents", "Agents"], ["jobs", "Jobs"], ["events", "Events"], ["settings", "Settings"]];

/** What stands where an agent's id does, and is none. */
const AGENTS_LIST = ["add", "find", "by-tag"];

function Page() {
  const [page = "", id, more] = route.value;
  switch (page) {
    case "":
      return <Overview />;
    case "attention":
      return <Attention />;
    case "proxies":
      return id && id !== "add" ? <ProxyPage id={id} /> : <Proxies adding={id === "add"} />;
    case "agents":
      if (id && !AGENTS_LIST.includes(id)) return <AgentPage id={id} />;
      return <Agents key={more} adding={id === "add"} bulk={id === "by-tag"} find={id === "find" ? more : undefined} />;
    case "jobs":
      return !id ? <Jobs /> : id === "new" ? <Wizard /> : <JobPage id={id} runId={more} />;
    case "events":
      return id === "audit" ? <Audit /> : <Events />;
    case "settings":
      return <Settings />;
    default:
      return <Empty title="There is no such page"><a href={href()}>Overview</a></Empty>;
  }
}

function Nav() {
  const here = route.value[0] ?? "";
  const pending = status.value?.agents.pending ?? 0;
  return (
    <nav aria-label="Pages"><div>
      <a class="brand" href={href()}><span class="logo" aria-hidden="true" />Fairlead</a>
      <ul>
        {NAV.map(([key, text]) => (
          <li key={key}><a href={href(...(key ? [key] : []))} aria-current={here === key ? "page" : undefined}>{text}{key === "agents" && pending > 0 && <span class="badge" title={`${pending} wait for approval`}>{pending}</span>}</a></li>
        ))}
      </ul>
      <div class="who"><span>{session.value?.user}{session.value?.role !== session.value?.user && <span class="hint"> {session.value?.role}</span>}</span><button type="button" class="plain" onClick={logout}>Log out</button></div>
    </div></nav>
  );
}

function Shell() {
  useEffect(() => {
    start();
    return stop;
  }, []);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.querySelector<HTMLElement>("main")?.focus(); }}>To the content</a>
      <Nav />
      <main id="main" tabIndex={-1}>
        <Banner />
        <Page />
      </main>
    </div>
  );
}

function App() {
  const who = session.value;
  const view = who === undefined ? null : !who ? <Login /> : who.must_change_password ? <FirstPassword /> : <Shell />;
  return <>{view}<Toasts /></>;
}

void findSession();
render(<App />, document.getElementById("app")!);
