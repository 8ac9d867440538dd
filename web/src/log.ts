// A log of the console's, found by filters on the server: newest first, page by page, and what comes meanwhile on top.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, reasonOf } from "./api";
import { events } from "./live";
import { epoch } from "./stream";
import type { List } from "./types";

const PAGE = 100;
const GATHER_MS = 500;

interface Entry { n: number }
interface Found<T> { rows: T[]; next: number | null; looks: number; error: string; busy: boolean }

export interface Log<T> extends Found<T> {
  more: () => void; // the next page, further back
  again: () => void; // from the beginning
}

/** @path: "/events"; @filters as they stand in a query. */
export function useLog<T extends Entry>(path: string, filters: string): Log<T> {
  const [found, setFound] = useState<Found<T>>({ rows: [], next: null, looks: 0, error: "", busy: true });
  const [turn, setTurn] = useState(0);
  const run = useRef(0); // a later one takes the place of an earlier
  const newest = useRef(0);

  /** Goes on from @from until a page is full or nothing is left: one answer looks at so many entries only. */
  const look = async (mine: number, from: number | null, rows: T[]) => {
    const full = rows.length + PAGE;
    let next = from, looks = 0;
    do {
      const place = next === null ? "order=newest" : `before=${next}`;
      const answer = await get<List<T>>(`${path}?${place}&limit=${full - rows.length}${filters && `&${filters}`}`);
      if (mine !== run.current) return;
      if (next === null) newest.current = answer.last ?? 0;
      rows = [...rows, ...answer.items];
      next = answer.next ?? null;
      looks++;
      setFound({ rows, next, looks, error: "", busy: next !== null && rows.length < full });
    } while (next !== null && rows.length < full);
  };
  const begin = (from: number | null, rows: T[]) => {
    const mine = ++run.current;
    setFound((old) => ({ ...old, rows, looks: 0, error: "", busy: true }));
    look(mine, from, rows).catch((error: unknown) => mine === run.current && setFound((old) => ({ ...old, error: reasonOf(error), busy: false })));
  };
  useEffect(() => begin(null, []), [path, filters, turn, epoch.value]);
  useEffect(() => () => void run.current++, []);

  const last = events.value.length ? events.value[events.value.length - 1].n : 0;
  useEffect(() => {
    const timer = window.setTimeout(async () => {
      const mine = run.current;
      if (!newest.current && path === "/events") return;
      const answer = await get<List<T>>(`${path}?after=${newest.current}&limit=${PAGE}${filters && `&${filters}`}`).catch(() => null);
      if (!answer || mine !== run.current) return;
      newest.current = answer.next ?? answer.last ?? newest.current;
      setFound((old) => ({ ...old, rows: [...answer.items.reverse().filter((row) => !old.rows.length || row.n > old.rows[0].n), ...old.rows] }));
    }, GATHER_MS);
    return () => window.clearTimeout(timer);
  }, [last]);

  return { ...found, more: () => begin(found.next, found.rows), again: () => setTurn((n) => n + 1) };
}
