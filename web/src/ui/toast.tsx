// Short messages that go by themselves, read aloud by screen readers.
import { signal } from "@preact/signals";

interface Toast { n: number; text: string; tone: string }
const toasts = signal<Toast[]>([]);
let next = 0;
const STAY_MS = 6000;

export function toast(text: string, tone = "good"): void {
  const n = next++;
  toasts.value = [...toasts.value, { n, text, tone }].slice(-4);
  window.setTimeout(() => {
    toasts.value = toasts.value.filter((t) => t.n !== n);
  }, STAY_MS);
}

export function Toasts() {
  return <div class="toasts" role="status" aria-live="polite">{toasts.value.map((t) => <p class={`toast ${t.tone}`} key={t.n}>{t.text}</p>)}</div>;
}
