// Where the focus belongs for who uses no mouse: back to what opened a dialog, and to the content when what had it is gone.

let used: HTMLElement | null = null;

/** The control that was used last outside of any dialog: going to a page moves the focus away from it before a dialog of that page opens. */
export const lastUsed = () => used;

export const toContent = () => document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });

document.addEventListener("focusin", ({ target }) => {
  if (target instanceof HTMLElement && target.matches("a, button, input, select, textarea, summary") && !target.closest("dialog")) used = target;
});

// A button whose work is done is often taken away, and browsers then give the focus to nobody.
new MutationObserver(() => {
  if (document.activeElement !== document.body || !used || used.isConnected || document.querySelector("dialog[open]")) return;
  used = null;
  toContent();
}).observe(document.documentElement, { childList: true, subtree: true });
