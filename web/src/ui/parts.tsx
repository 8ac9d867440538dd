// The parts that all pages are made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, reasonOf } from "../api";
import { lastUsed, toContent } from "../focus";
import { percent } from "../format";
import { toast } from "./toast";

const TONES: Record<string, string> = {
  online: "good", connected: "good", done: "good", applied: "good", running: "busy", moving: "busy", waiting: "wait", connecting: "wait",
  carries: "good", suspect: "warn", pending: "wait", paused: "wait", held: "wait", draining: "wait", partial: "warn", offline: "off", stopped: "off",
  "given up": "bad", failed: "bad", unreachable: "bad", revoked: "bad", refused: "bad", "rolled back": "bad", error: "bad", warning: "warn", warn: "warn", info: "off",
};

/** A state as a coloured word: never colour alone. */
export function State({ is }: { is: string }) {
  return <span class={`state ${TONES[is] ?? "off"}`}><span class="dot" aria-hidden="true" />{is}</span>;
}

export function Card({ title, action, children, class: name }: { title?: ComponentChildren; action?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`card ${name ?? ""}`}>
      {(title || action) && <header><h2>{title}</h2>{action}</header>}
      {children}
    </section>
  );
}

export function PageHead({ title, sub, children }: { title: ComponentChildren; sub?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="page-head">
      <div><h1>{title}</h1>{sub && <p class="sub">{sub}</p>}</div>
      {children && <div class="actions">{children}</div>}
    </div>
  );
}

/** What stands where a page would, when there is none of that id or name. */
export function Missing({ what, children }: { what: string; children: ComponentChildren }) {
  return <><PageHead title={`There is no such ${what}`} /><Card><Empty title="It was removed, or its address is mistyped.">{children}</Empty></Card></>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><strong>{title}</strong>{children && <p>{children}</p>}</div>;
}

/** @bare: without the number, where that stands beside it. */
export function Progress({ part, whole, label, tone, bare }: { part: number; whole: number; label: string; tone?: string; bare?: boolean }) {
  const value = percent(part, whole);
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => {
    bar.current?.style.setProperty("width", `${value}%`);
  }, [value]);
  const track = (
    <div class={`progress ${tone ?? ""}`} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(value)}>
      <div ref={bar} />
    </div>
  );
  return bare ? track : <div class="progress-row">{track}<span class="hint">{part > 0 && value < 1 ? "< 1" : Math.floor(value)} %</span></div>;
}

/** A number large, its unit or what it is out of ("Mbit/s", "of 7") smaller. */
function Value({ of: text }: { of: string }) {
  const [, number, unit] = /^([\d.,]+)( (?:[^\d\s]\S*|of [\d.,]+))$/.exec(text) ?? [];
  return number ? <>{number}<small>{unit}</small></> : <>{text}</>;
}

/** @link: where there is more of it. */
export function Figure({ label, value, hint, link, wide }: { label: string; value: ComponentChildren; hint?: ComponentChildren; link?: string; wide?: boolean }) {
  const shown = (
    <>
      <span class="label">{label}</span>
      <span class="value">{typeof value === "string" ? <Value of={value} /> : value}</span>
      {hint && <span class="hint">{hint}</span>}
    </>
  );
  const name = `figure ${wide ? "wide" : ""}`;
  return link ? <a class={name} href={link}>{shown}</a> : <div class={name}>{shown}</div>;
}

/** @phone: what becomes of it on a narrow screen, where a row is a card: its title, what stands beside that, or without its head ("bare"). */
export interface Column<T> { head: string; cell: (row: T) => ComponentChildren; right?: boolean; wide?: boolean; phone?: "title" | "beside" | "bare" }

const classOf = ({ right, wide, phone }: Column<never>) => [right && "right", wide && "wide", phone].filter(Boolean).join(" ");

const PAGE = 100;

/** A table that becomes a list of cards on a narrow screen. Long ones are shown a page at a time, unless @all of it is wanted. */
export function Table<T>({ rows, columns, id, caption, all }: { rows: T[]; columns: Column<T>[]; id: (row: T) => string; caption: string; all?: boolean }) {
  const [most, setMost] = useState(PAGE);
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead><tr>{columns.map((c) => <th scope="col" class={c.right ? "right" : ""} key={c.head}>{c.head}</th>)}</tr></thead>
        <tbody>
          {rows.slice(0, all ? rows.length : most).map((row) => (
            <tr key={id(row)}>{columns.map((c) => <td class={classOf(c)} data-head={c.head} key={c.head}><div>{c.cell(row)}</div></td>)}</tr>
          ))}
        </tbody>
      </table>
      {!all && rows.length > most && <p><button type="button" onClick={() => setMost(most + PAGE)}>{Math.min(PAGE, rows.length - most)} more of {rows.length}</button></p>}
    </div>
  );
}

/** A modal window; the browser's own, with its focus trap and Escape. Gives the focus back to what opened it. */
export function Dialog({ title, onClose, children, wide }: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }) {
  const box = useRef<HTMLDialogElement>(null);
  const gone = useRef(false);
  const close = () => gone.current || onClose();
  useEffect(() => {
    const dialog = box.current, opener = lastUsed();
    if (dialog && !dialog.open) dialog.showModal();
    // What is to be filled in or answered comes first, not the button that closes it.
    dialog?.querySelector<HTMLElement>(`.body :is(input, select, textarea, button, [tabindex="0"])`)?.focus();
    // The browser gives the focus back when a dialog is closed, not when it is taken out of the page. While it is open nothing else can have it.
    return () => {
      gone.current = true;
      dialog?.close();
      if (opener?.isConnected) opener.focus();
      else toContent();
    };
  }, []);
  return (
    <dialog ref={box} class={wide ? "wide" : ""} aria-label={title} onClose={close} onCancel={close}>
      <header><h2>{title}</h2><button type="button" class="plain" aria-label="Close" onClick={onClose}>✕</button></header>
      <div class="body">{children}</div>
    </dialog>
  );
}

/** A form whose submit is a call: shows that it runs, and puts an error at the field that it is about. */
export function Form({ submit, button, children, onCancel, danger }: {
  submit: () => Promise<void>; button: string; children: (error: (field: string) => string | undefined) => ComponentChildren; onCancel?: () => void; danger?: boolean;
}) {
  const [problem, setProblem] = useState<{ field?: string; text: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const seen = useRef(new Set<string>());
  seen.current.clear();
  const errorOf = (field: string) => {
    seen.current.add(field);
    return problem?.field === field ? problem.text : undefined;
  };
  const onSubmit = async (event: JSX.TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await submit();
    } catch (error) {
      setProblem({ field: error instanceof ApiError ? error.problem.field : undefined, text: reasonOf(error) });
    } finally {
      setBusy(false);
    }
  };
  const content = children(errorOf);
  const homeless = problem && !(problem.field && seen.current.has(problem.field));
  return (
    <form onSubmit={onSubmit} noValidate>
      {content}
      {homeless && <p class="error" role="alert">{problem.text}</p>}
      <footer>
        {onCancel && <button type="button" class="plain" onClick={onCancel}>Cancel</button>}
        <button type="submit" class={danger ? "danger" : "primary"} disabled={busy}>{busy ? "…" : button}</button>
      </footer>
    </form>
  );
}

let fieldNumber = 0;

export function Field({ label, hint, error, children }: { label: string; hint?: ComponentChildren; error?: string; children: (id: string, described: string) => ComponentChildren }) {
  const [id] = useState(() => `field-${++fieldNumber}`);
  return (
    <div class={`field ${error ? "wrong" : ""}`}>
      <label for={id}>{label}</label>
      <div class="control">
        {children(id, `${id}-hint`)}
        <p id={`${id}-hint`} class={error ? "error" : "hint"} role={error ? "alert" : undefined}>{error ?? hint}</p>
      </div>
    </div>
  );
}

export function Text({ value, set, label, hint, error, type, placeholder, complete, focus }: {
  value: string; set: (value: string) => void; label: string; hint?: ComponentChildren; error?: string; type?: string; placeholder?: string; complete?: string; focus?: boolean;
}) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (focus) input.current?.focus();
  }, []);
  return (
    <Field label={label} hint={hint} error={error}>
      {(id, described) => (
        <input ref={input} id={id} type={type ?? "text"} value={value} placeholder={placeholder} aria-describedby={described} aria-invalid={!!error}
          autocomplete={complete ?? "off"} spellcheck={false} onInput={(e) => set(e.currentTarget.value)} />
      )}
    </Field>
  );
}

export function Choice({ value, set, label, hint, error, of }: { value: string; set: (value: string) => void; label: string; hint?: ComponentChildren; error?: string; of: [string, string][] }) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(id, described) => (
        <select id={id} value={value} aria-describedby={described} onChange={(e) => set(e.currentTarget.value)}>
          {of.map(([key, text]) => <option value={key} key={key}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}

/** Several lines, one a line. */
export function Area({ value, set, label, hint, error, placeholder }: { value: string; set: (value: string) => void; label: string; hint?: ComponentChildren; error?: string; placeholder?: string }) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(id, described) => (
        <textarea id={id} rows={Math.min(6, Math.max(2, value.split("\n").length))} value={value} placeholder={placeholder} aria-describedby={described} aria-invalid={!!error}
          spellcheck={false} onInput={(e) => set(e.currentTarget.value)} />
      )}
    </Field>
  );
}

export function Check({ value, set, label }: { value: boolean; set: (value: boolean) => void; label: ComponentChildren }) {
  return <label class="check"><input type="checkbox" checked={value} onChange={(e) => set(e.currentTarget.checked)} /> {label}</label>;
}

/** Text to take away: shown, copied, saved. */
export function Take({ text, file, label }: { text: string; file?: string; label: string }) {
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    toast("copied");
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = file ?? "file";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div class="take">
      <pre tabIndex={0} aria-label={label}>{text}</pre>
      <div class="take-actions">
        <button type="button" onClick={copy}>Copy</button>
        {file && <button type="button" onClick={save}>Save {file}</button>}
      </div>
    </div>
  );
}

/** A button whose click is a call; what goes wrong is shown. @ask: what is to be answered first; the answer repeats what the button says. */
export function Act({ act, children, ask, class: name, title }: { act: () => Promise<unknown>; children: string; ask?: string; class?: string; title?: string }) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      await act();
    } catch (error) {
      toast(reasonOf(error), "bad");
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" class={name} title={title} disabled={busy} onClick={() => (ask ? setAsking(true) : run())}>{children}</button>
      {asking && (
        <Dialog title={`${children}?`} onClose={() => setAsking(false)}>
          <p>{ask}</p>
          <Form button={`Yes, ${children[0].toLowerCase()}${children.slice(1)}`} danger={name === "danger"} onCancel={() => setAsking(false)} submit={async () => { await act(); setAsking(false); }}>{() => null}</Form>
        </Dialog>
      )}
    </>
  );
}
