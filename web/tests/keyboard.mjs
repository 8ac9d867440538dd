// The way of somebody without a mouse: keyboard.mjs ORDER (JSON: url, user, password, source, target). Tab, Enter, arrows and Escape only; what has
// the focus is visible each time, and a dialog gives it back to what opened it.
import { open, until } from "./browser.mjs";

const order = JSON.parse(process.argv[2]);
const MOST_TABS = 80;

function check(condition, what) {
  if (!condition) throw new Error(what);
}

const { browser, newPage, problems } = await open(order.url);
const page = await newPage();
const press = (key) => page.keyboard.press(key);
const type = (text) => page.keyboard.type(text);

/** What has the focus: role or tag, name, whether it can be seen to have it, and whether it is within a dialog. */
const focused = () => page.evaluate(() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const label = e.labels?.[0]?.textContent ?? "";
  return {
    tag: e.tagName.toLowerCase(), name: (e.getAttribute("aria-label") || label || e.textContent || "").trim().slice(0, 80), value: e.value ?? "",
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1, dialog: !!e.closest("dialog"),
  };
});

/** Tab on to the element of that tag and name. Each on the way shows that it has the focus. */
async function tabTo(tag, name, key = "Tab") {
  const met = [];
  for (let i = 0; i < MOST_TABS; i++) {
    await press(key);
    const at = await focused();
    if (at.tag !== "body") check(at.seen, `the focus on ${at.tag} "${at.name}" cannot be seen`);
    if (at.tag === tag && (name instanceof RegExp ? name.test(at.name) : at.name === name)) return at;
    met.push(`${at.tag} "${at.name}"`);
  }
  throw new Error(`no ${tag} ${name} by Tab; met: ${[...new Set(met)].join(", ")}`);
}

async function enter(tag, name) {
  await tabTo(tag, name);
  await press("Enter");
}

/** Where the focus comes to rest. */
async function rests(test, what) {
  const until = Date.now() + 10000;
  for (;;) {
    const at = await focused();
    if (test(at)) return at;
    if (Date.now() > until) throw new Error(`${what}: the focus is on ${at.tag} "${at.name}"`);
    await page.waitForTimeout(100);
  }
}

async function go(name) {
  await page.keyboard.press("Home");
  await enter("a", name);
  await rests((at) => at.tag === "main", `after going to ${name}`);
}

async function login() {
  await page.goto("/");
  await rests((at) => at.name === "Password", "at the login");
  await type("not this one");
  await press("Enter");
  await page.getByText("no such user, or not that password").waitFor();
  await page.evaluate(() => document.activeElement.select?.());
  await rests((at) => at.name === "Password", "after a refused login");
  await press("Control+A");
  await type(order.password);
  await press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
}

async function skip() {
  const link = await tabTo("a", "To the content");
  check(link.seen, "the skip link is shown");
  await press("Enter");
  await rests((at) => at.tag === "main", "the skip link");
  await press("Tab");
  check(await page.evaluate(() => !!document.activeElement.closest("main")), "and from there on one is within the content");
}

async function addAgent() {
  await go("Agents");
  await enter("a", "Add an agent");
  await page.getByRole("dialog").waitFor();
  await rests((at) => at.dialog && at.tag === "input", "a dialog gives the focus to what is to be filled in");
  for (let i = 0; i < 12; i++) {
    await press("Tab");
    const at = await focused();
    check(at.dialog || at.tag === "body", `the focus left the dialog for ${at.tag} "${at.name}"`);
  }
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await rests((at) => at.tag === "a" && at.name === "Add an agent", "after Escape");
  await press("Enter");
  await page.getByRole("dialog").waitFor();
  await rests((at) => at.dialog, "the dialog takes the focus again");
  await enter("button", "Make agent.json");
  await page.getByLabel("agent.json", { exact: true }).last().waitFor();
  await enter("button", "Done");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await rests((at) => at.tag === "a" && at.name === "Add an agent", "after Done");
}

/** By typing the beginning of an option, as browsers have it. */
async function choose(label, option) {
  await tabTo("select", new RegExp(`^${label}`));
  await type(option);
  await rests((at) => at.value === option, `${option} chosen`);
}

async function order_job(name, target) {
  await go("Jobs");
  await enter("a", "New job");
  await page.getByRole("heading", { name: "New job" }).waitFor();
  await tabTo("input", /Distribute/);
  await press("ArrowDown");
  await rests((at) => /Collect/.test(at.name), "the arrow chooses the next kind");
  await press("ArrowUp");
  await choose("Source agent", "left");
  await tabTo("input", "Source folder");
  await type(order.source.replace(/\/[^/]*$/, ""));
  await enter("button", "Browse…");
  await page.getByRole("dialog").waitFor();
  await rests((at) => at.dialog, "the folder browser takes the focus");
  const folder = order.source.split("/").pop();
  await page.getByRole("button", { name: `🗀 ${folder}` }).waitFor();
  await enter("button", `🗀 ${folder}`);
  await page.getByRole("button", { name: "file-0" }).first().waitFor();
  await rests((at) => at.dialog && at.tag === "button" && at.name.startsWith("↑"), "in the folder that was opened");
  await enter("button", `Take ${order.source}`);
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await rests((at) => at.tag === "button" && at.name === "Browse…", "after a folder was taken");
  await choose("Target agent", "right");
  await tabTo("input", "Target folder");
  await type(target);
  await tabTo("input", "Name");
  await type(name);
  await press("Enter");
  await page.getByRole("heading", { name: new RegExp(`^${name} `) }).waitFor();
}

/** A message that a screen reader reads: within a live region. */
async function told(text) {
  await until(page, (wanted) => [...document.querySelectorAll("[role=status], [role=alert], [aria-live]")].some((e) => e.textContent.includes(wanted)), text);
}

await login();
await skip();
await addAgent();
await order_job("short", `${order.target}-1`);
await told("job short");
await page.getByRole("heading", { name: "short done" }).waitFor({ timeout: 60000 });

// One that takes long is watched, and stopped; the dialog is left once, and then answered.
await page.request.patch("/api/v1/agents/left/settings", { data: { rate_limit_upload: 512 }, headers: { "X-CSRF-Token": (await (await page.request.get("/api/v1/session")).json()).csrf } });
await order_job("long", `${order.target}-2`);
await page.getByRole("heading", { name: "long running" }).waitFor();
await page.getByRole("region", { name: "Files on their way" }).waitFor({ timeout: 60000 });
await enter("button", "Stop");
await rests((at) => at.dialog, "the question takes the focus");
await press("Escape");
await rests((at) => at.tag === "button" && at.name === "Stop", "a question that was left");
await press("Enter");
await page.getByRole("dialog").waitFor();
await enter("button", "Yes, stop");
await page.getByRole("dialog").waitFor({ state: "detached" });
await told("job long");
await page.getByRole("heading", { name: "long stopped" }).waitFor({ timeout: 60000 });
await rests((at) => at.tag !== "body", "the button is gone, the focus is not");

// Filters and pages of the log.
await go("Events");
await tabTo("select", /^Level/);
await press("ArrowDown");
await tabTo("input", "Text");
await type("job long");
await page.getByText("Nothing fits these filters").waitFor();

await browser.close();
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
console.log("without a mouse");
