import { useEffect, useState } from "preact/hooks";
import { items, may } from "../api";
import { events } from "../live";
import { clock } from "../format";
import { Card, Empty, PageHead, State, Table } from "../ui/parts";
import type { Json } from "../types";

interface AuditEntry { n: number; time: string; user: string; from: string; action: string; subject: string; before: Json; after: Json }

const short = (json: Json) => (json === null ? "–" : JSON.stringify(json));

function Audit() {
  const [rows, setRows] = useState<AuditEntry[] | null>(null);
  useEffect(() => {
    items<AuditEntry>("/audit?latest=200").then(setRows, () => setRows([]));
  }, [events.value.length]);
  const save = () => {
    const link = document.createElement("a");
    link.href = "/api/v1/audit?export=1";
    link.download = "audit.jsonl";
    link.click();
  };
  return (
    <Card title="Audit: who changed what" action={<button type="button" onClick={save}>Export</button>}>
      {!rows ? <p class="calm">Loading…</p> : rows.length === 0 ? <Empty title="No change yet" /> : (
        <Table caption="Audit log" rows={[...rows].reverse()} id={(r) => String(r.n)} columns={[
          { head: "Time", cell: (r) => clock(r.time) },
          { head: "Who", cell: (r) => <>{r.user}<div class="hint">{r.from}</div></> },
          { head: "Did", cell: (r) => r.action },
          { head: "To", cell: (r) => r.subject },
          { head: "Before", cell: (r) => <code class="json">{short(r.before)}</code>, wide: true },
          { head: "After", cell: (r) => <code class="json">{short(r.after)}</code>, wide: true },
        ]} />
      )}
    </Card>
  );
}

export function Events() {
  const [level, setLevel] = useState("");
  const shown = [...events.value].reverse().filter((e) => !level || e.level === level);
  return (
    <>
      <PageHead title="Events and audit">
        <select aria-label="Level" value={level} onChange={(e) => setLevel(e.currentTarget.value)}>
          <option value="">all levels</option><option value="info">info</option><option value="warning">warning</option><option value="error">error</option>
        </select>
      </PageHead>
      <Card title="Events: what happened">
        {shown.length === 0 ? <Empty title="Nothing yet" /> : (
          <Table caption="Events" rows={shown} id={(e) => String(e.n)} columns={[
            { head: "Time", cell: (e) => clock(e.time) },
            { head: "Level", cell: (e) => <State is={e.level} /> },
            { head: "What", cell: (e) => e.text, wide: true },
          ]} />
        )}
      </Card>
      {may("administer") && <Audit />}
    </>
  );
}
