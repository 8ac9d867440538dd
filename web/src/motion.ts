// Whether the lines of the map move: as the system has it, unless chosen here; the choice is kept by this browser.
import { effect, signal } from "@preact/signals";

const KEY = "fairlead-motion";
const stored = localStorage.getItem(KEY);
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/** What was chosen, if anything was. */
const chosen = signal<boolean | null>(stored === "on" ? true : stored === "off" ? false : null);
const quiet = signal(calm.matches);
calm.addEventListener("change", () => {
  quiet.value = calm.matches;
});

export const moves = (): boolean => chosen.value ?? !quiet.value;

export function setMoves(on: boolean): void {
  chosen.value = on;
  localStorage.setItem(KEY, on ? "on" : "off");
}

effect(() => {
  document.documentElement.classList.toggle("moves", moves());
});
