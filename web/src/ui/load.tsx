// What is fetched: on its way, failed, or there. A list that could not be had is never shown as an empty one.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { reasonOf } from "../api";
import { problems, refresh, there, type SharedName } from "../live";
import { epoch, stream } from "../stream";

export interface Load<T> {
  data: T | undefined; // the latest that came; undefined: nothing yet
  error: string; // of the latest try; "": none
  busy: boolean;
  again: () => void;
}

/** What @load gives, fetched again when one of @deps changes, when again() is called, and when the live stream is back after a loss. */
export function useLoad<T>(load: () => Promise<T>, deps: unknown[]): Load<T> {
  const [state, setState] = useState<{ data?: T; error: string; busy: boolean }>({ error: "", busy: true });
  const [turn, setTurn] = useState(0);
  const newest = useRef(0);
  useEffect(() => {
    const mine = ++newest.current;
    setState((old) => ({ ...old, busy: true }));
    load().then(
      (data) => mine === newest.current && setState({ data, error: "", busy: false }),
      (error: unknown) => mine === newest.current && setState((old) => ({ ...old, error: reasonOf(error), busy: false })),
    );
  }, [...deps, turn, epoch.value]);
  useEffect(() => () => void newest.current++, []);
  return { ...state, data: state.data, again: () => setTurn((n) => n + 1) };
}

/** The same, and again each @everyMs while somebody looks and the console is there. */
export function usePolled<T>(load: () => Promise<T>, deps: unknown[], everyMs: number): Load<T> {
  const found = useLoad(load, deps);
  useEffect(() => {
    const timer = window.setInterval(() => document.hidden || stream.value.state === "lost" || found.again(), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return found;
}

/** @what: "the users", as it stands in "the users could not be loaded". */
export function Failed({ what, reason, again, busy }: { what: string; reason: string; again: () => void; busy?: boolean }) {
  return (
    <div class="failed" role="alert">
      <p><strong>{what[0].toUpperCase() + what.slice(1)} could not be loaded.</strong> {reason}</p>
      <button type="button" disabled={busy} onClick={again}>Try again</button>
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return <p class="calm" aria-busy="true">Loading {what}…</p>;
}

/** @children of what came; beside it, when it is not the latest, why. */
export function Loaded<T>({ of, what, children }: { of: Load<T>; what: string; children: (data: T) => ComponentChildren }) {
  if (of.data === undefined) return of.error ? <Failed what={what} reason={of.error} again={of.again} busy={of.busy} /> : <Loading what={what} />;
  return <>{of.error && <Failed what={`the latest of ${what}`} reason={of.error} again={of.again} busy={of.busy} />}{children(of.data)}</>;
}

/** The same of what all pages share: @name of it in live.ts. */
export function Shared({ name, what, children }: { name: SharedName; what: string; children: () => ComponentChildren }) {
  const error = problems.value[name];
  const again = () => refresh(name);
  const told = stream.value.state === "lost"; // above the page, for all of it
  if (there.value[name]) return <>{error && !told && <Failed what={`the latest of ${what}`} reason={error} again={again} />}{children()}</>;
  return error ? <Failed what={what} reason={error} again={again} /> : <Loading what={what} />;
}
