// Over which ways flows move: the tunnels that are open, and what was tried in vain.
import { bytes, clock, count, rate, rtt } from "../format";
import { State, Table, type Column } from "./parts";
import { Route } from "./ends";
import type { Tunnel } from "../types";

/** Whose they are: seen from @agent, or both ends; not of a single flow's. */
function ends(ways: Tunnel[], agent?: string): Column<Tunnel> | false {
  if (agent) return { head: "With", cell: (w) => (w.source.id === agent ? `to ${w.target.name}` : `from ${w.source.name}`), phone: "title" };
  return ways.some((w) => w.flow !== ways[0].flow) && { head: "From → to", cell: (w) => `${w.source.name} → ${w.target.name}`, phone: "title" };
}

/** Of a forward: how many go over it, and whether more will. */
function Connections({ of: way }: { of: Tunnel }) {
  if (way.connections === undefined) return <>–</>;
  return <>{count(way.connections)}<div class="hint">{way.newest ? "new ones too" : "until they end"}</div></>;
}

export function Ways({ ways, agent }: { ways: Tunnel[]; agent?: string }) {
  const forwards = ways.some((w) => w.connections !== undefined);
  const whose = ends(ways, agent);
  const columns: (Column<Tunnel> | false)[] = [
    whose,
    { head: "Way", phone: whose ? undefined : "title", cell: (w) => <><Route of={w.via} />{w.raw && <span class="tag" title="The proxy passes it within the kernel">raw</span>}</> },
    { head: "State", cell: (w) => <><State is={w.state} />{w.text && <div class="hint">{w.text}</div>}</>, wide: true, phone: "beside" },
    { head: "Since", cell: (w) => clock(w.since) },
    forwards && { head: "Connections", cell: (w) => <Connections of={w} />, right: true },
    { head: "Round trip", cell: (w) => (w.rtt_us ? rtt(w.rtt_us) : "–"), right: true },
    { head: "Speed", cell: (w) => (w.state === "failed" ? "–" : rate(w.rate)), right: true },
    { head: "So far", cell: (w) => (w.state === "failed" ? "–" : bytes(w.bytes)), right: true },
  ];
  // Two tunnels of a forward may go over the same proxy, one after the other.
  return <Table caption="Ways" rows={ways} id={(w) => `${w.flow} ${w.via} ${w.since}`} columns={columns.filter((c) => c !== false)} />;
}
