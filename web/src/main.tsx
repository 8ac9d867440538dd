import { render } from "preact";
import { useEffect } from "preact/hooks";
import "./style.css";
import "./theme";
import "./motion";
import { findSession, logout, session } from "./api";
import { start, status, stop } from "./live";
import { href, route } from "./router";
import { Banner } from "./ui/banner";
import { Missing } from "./ui/parts";
import { Toasts } from "./ui/toast";
import { AgentPage, Agents } from "./pages/agents";
import { Audit, Events } from "./pages/events";
import { JobPage, Jobs } from "./pages/jobs";
import { FirstPassword, Login } from "./pages/login";
import { Attention, Overview } from "./pages/overview";
import { Proxies, ProxyPage } from "./pages/proxies";
import { Settings } from "./pages/settings";
import { Wizard } from "./pages/wizard";

/** Key, name, and the lines of its picture, 20 by 20. */
const NAV: [string, string, string][] = [
  ["", "Overview", "M3 3h6v6H3zM11 3h6v6h-6zM3 11h6v6H3zM11 11h6v6h-6z"],
  ["proxies", "Proxies", "M1.5 10h5M13.5 10h5M6.5 5.5h7v9h-7z"],
  ["agents", "Agents", "M2.5 3.5h15v9.5h-15zM6.5 17h7M10 13v4"],
  ["jobs", "Jobs", "M2.5 6.5h14l-3.5-3.5M17.5 13.5h-14l3.5 3.5"],
  ["events", "Events", "M3 5h1.5M8 5h9M3 10h1.5M8 10h9M3 15h1.5M8 15h9"],
  ["settings", "Settings", "M2.5 6h8.5M15 6h2.5M2.5 14h2.5M9 14h8.5M11 6a2 2 0 1 0 4 0a2 2 0 1 0-4 0M5 14a2 2 0 1 0 4 0a2 2 0 1 0-4 0"],
];

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
      return id && id !== "add" ? <ProxyPage key={id} id={id} /> : <Proxies adding={id === "add"} />;
    case "agents":
      if (id && !AGENTS_LIST.includes(id)) return <AgentPage key={id} id={id} />;
      return <Agents key={more} adding={id === "add"} bulk={id === "by-tag"} find={id === "find" ? more : undefined} />;
    case "jobs":
      return !id ? <Jobs /> : id === "new" ? <Wizard /> : <JobPage key={id} id={id} runId={more} />;
    case "events":
      return id === "audit" ? <Audit /> : <Events />;
    case "settings":
      return <Settings />;
    default:
      return <Missing what="page"><a href={href()}>Overview</a></Missing>;
  }
}

function Nav() {
  const here = route.value[0] ?? "";
  const pending = status.value?.agents.pending ?? 0;
  return (
    <nav aria-label="Pages"><div>
      <a class="brand" href={href()}><span class="logo" aria-hidden="true" />Fairlead</a>
      <ul>
        {NAV.map(([key, text, lines]) => (
          <li key={key}>
            <a href={href(...(key ? [key] : []))} aria-current={here === key ? "page" : undefined}>
              <svg viewBox="0 0 20 20" aria-hidden="true"><path d={lines} /></svg>{text}
              {key === "agents" && pending > 0 && <span class="badge" title={`${pending} wait for approval`}>{pending}</span>}
            </a>
          </li>
        ))}
      </ul>
      <div class="who"><span>{session.value?.user}{session.value?.role !== session.value?.user && <span class="hint"> {session.value?.role}</span>}</span><button type="button" class="plain quiet" onClick={logout}>Log out</button></div>
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
