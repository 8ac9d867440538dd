// The overview, a proxy and many agents, in a real browser against real daemons: fleet.mjs ORDER (JSON: url, password, token, out)
// There are: proxies hub and lost (which nobody runs), agents a and b at hub with a job that moves between them, and 30 agents that are away.
import assert from "node:assert/strict";
import { firstLogin, open, SIZES } from "./browser.mjs";

const order = JSON.parse(process.argv[2]);
const { browser, newPage, problems } = await open(order.url);
const page = await newPage({ viewport: SIZES.wide });
await firstLogin(page, "admin", order.password, "a fleet to look at");

const nav = (name) => page.getByRole("navigation").getByRole("link", { name }).first().click();
const ask = async (path) => (await page.request.get(`/api/v1${path}`)).json();
const map = page.locator(".map");
const moving = (p) => p.evaluate(() => document.documentElement.classList.contains("moves"));

/** What flows is drawn by its kind, and says so in words. */
async function kinds() {
  const line = map.locator(".flow.raw.moving path title").first();
  await line.waitFor({ state: "attached" });
  assert.match(await line.textContent(), /^a → b: .*, proxy hub tcp, raw$/);
  await map.locator(".flow.quic.moving path title").filter({ hasText: /^c → d: .*, proxy hub udp/ }).first().waitFor({ state: "attached" });
  for (const kind of ["direct, TCP", "proxy, TCP raw", "proxy, TCP wrapped", "UDP (QUIC)"]) await map.getByText(kind, { exact: true }).waitFor();
}

/** Those who do something have boxes; the others are counted, and found in the list. */
async function many() {
  await map.getByRole("link", { name: "agent a, online" }).waitFor();
  const more = map.getByRole("link", { name: /^\+\d+ more, away$/ });
  const hidden = Number(/\d+/.exec(await more.getAttribute("aria-label"))[0]);
  assert.equal(await map.getByRole("link", { name: /^agent away-/ }).count() + hidden, 30);
  await more.click();
  await page.getByRole("heading", { name: "Agents" }).waitFor();
  assert.equal(await page.getByLabel("Search agents").inputValue(), "offline");
  assert.equal(await page.getByRole("row", { name: /offline/ }).count(), 30);
  await nav("Overview");
  await page.getByLabel("Filter the map").fill("away-0029");
  await map.getByRole("link", { name: "agent away-0029, offline" }).waitFor();
  assert.equal(await map.getByRole("link", { name: /^agent / }).count(), 1);
  await page.getByLabel("Filter the map").fill("");
}

/** Whether the lines move is remembered, and starts as the system wants it. */
async function motion() {
  assert.equal(await moving(page), true);
  await page.getByRole("button", { name: "Moving lines: on" }).click();
  await page.reload();
  await page.getByRole("button", { name: "Moving lines: off" }).waitFor();
  assert.equal(await moving(page), false);
  await nav("Settings");
  assert.equal(await page.getByLabel("Moving lines on the map").isChecked(), false);
  const calm = await newPage({ reducedMotion: "reduce", storageState: { ...(await page.context().storageState()), origins: [] } });
  await calm.goto("/");
  await calm.getByRole("button", { name: "Moving lines: off" }).click();
  assert.equal(await moving(calm), true); // who asks for it gets it
  await calm.context().close();
}

/** What was moved before the page was opened is in its chart. */
async function history() {
  while (!(await ask("/throughput")).items.some((sample) => sample.rate > 0)) await page.waitForTimeout(300);
  for (const job of ["long", "by udp"]) {
    const stopped = await page.request.post(`/api/v1/jobs/${encodeURIComponent(job)}/stop`, { data: {}, headers: { Authorization: `Bearer ${order.token}` } });
    assert.equal(stopped.status(), 200);
  }
  await nav("Overview");
  await page.reload();
  const chart = page.getByRole("img", { name: /^Throughput of all runs\. Now all: 0 bit\/s, at most \d+\.?\d* [kMG]bit\/s/ });
  await chart.waitFor();
}

/** The worst first, each with what to do; many of a kind as one, which leads to all of them. */
async function attention() {
  const list = page.locator(".matters li");
  assert.match(await list.first().textContent(), /Proxy lost cannot be reached.*Does it run there/);
  await page.getByRole("link", { name: "30 agents are away" }).click();
  await page.getByRole("heading", { name: "Needs attention" }).waitFor();
  const rows = page.getByRole("row");
  assert.match(await rows.nth(1).textContent(), /unreachable/);
  assert.equal(await page.getByRole("row", { name: /Agent away-\d+ is away/ }).count(), 30);
}

/** What an agent's page could not ask for is not shown as nothing. */
async function refused() {
  const paths = /\/api\/v1\/(flows\?agent=|tunnels|agents\/[^/?]+(\/throughput)?$)/;
  await page.route(paths, (route) => route.fulfill({ status: 429, contentType: "application/problem+json", body: JSON.stringify({ title: "Too Many Requests", status: 429, detail: "later" }) }));
  await nav("Agents");
  await page.getByRole("link", { name: "a", exact: true }).click();
  for (const what of ["Its transfers", "Its throughput", "The ways", "Its settings"]) await page.getByText(`${what} could not be loaded.`).waitFor();
  assert.equal(await page.getByText(/^(None is under way|Nothing was moved)/).count(), 0);
  await page.unroute(paths);
  await page.getByRole("button", { name: "Try again" }).first().click();
  await page.getByRole("region", { name: "Transfers" }).waitFor();
  await nav("Overview");
}

const apply = () => page.getByRole("button", { name: "Apply" }).click();
const outcome = (state) => page.locator(".card").filter({ has: page.getByRole("heading", { name: "Settings", exact: true }) }).locator("header").getByText(state, { exact: true }).waitFor({ timeout: 60000 });
const used = page.locator(".card").filter({ has: page.getByRole("heading", { name: "Who uses it" }) });

/** What it uses, who may use it, how often it is chosen. */
async function proxy() {
  await nav("Proxies");
  await page.getByRole("row", { name: /hub/ }).getByText(/^\d+\.\d+\.\d+$/).waitFor(); // its version
  await page.getByRole("link", { name: "hub" }).click();
  await page.getByText(/version \d+\.\d+\.\d+ · up /).waitFor();
  await page.locator(".figure").filter({ hasText: "Processor" }).getByText(/^\d+\.?\d* %$/).waitFor();
  await used.getByText("all", { exact: true }).waitFor();
  await page.getByText("Who may use it, and how").click();
  await page.getByText("Counts and times").click();
  assert.match(await page.getByLabel("Idle time (seconds)").getAttribute("placeholder"), /^600 /); // what holds now
  for (const name of ["a", "b"]) await page.getByLabel("Allowed agents").fill(name);
  await page.getByLabel("Syncthing devices").fill("any");
  await apply();
  await used.getByRole("link", { name: "b", exact: true }).waitFor({ timeout: 60000 });
  await used.getByText("any", { exact: true }).waitFor();
  await outcome("applied");
  assert.equal((await ask("/proxies/hub")).agents.length, 2);
  await page.getByLabel("Syncthing devices").fill("any\nnonsense");
  await apply();
  await outcome("refused");
  await page.getByText(/expected device ids of Syncthing or "any", got "nonsense"/).first().waitFor();
  await used.getByText("any", { exact: true }).waitFor(); // what held still holds
  await page.getByRole("button", { name: "Take b away" }).click();
  await page.getByLabel("Syncthing devices").fill("");
  await apply();
  await used.getByText("none", { exact: true }).waitFor({ timeout: 60000 });
  assert.deepEqual((await ask("/proxies/hub")).agents.map((agent) => agent.name), ["a"]);
  await page.getByLabel("Weight").fill("2000");
  await page.getByRole("button", { name: "Set the weight" }).click();
  await page.getByText(/"weight".*1000/).waitFor();
  await page.getByLabel("Weight").fill("250");
  await page.getByRole("button", { name: "Set the weight" }).click();
  while ((await ask("/proxies/hub")).weight !== 250) await page.waitForTimeout(100);
  for (const heading of ["Why connections ended", "Turned away", "Processor, of one core"]) await page.getByRole("heading", { name: heading }).waitFor({ timeout: 60000 });
}

/** One order for all who carry a tag, and how it stands at each. */
async function byTag() {
  await nav("Agents");
  await page.getByRole("link", { name: "Settings by tag" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Tag").selectOption("branch");
  const button = dialog.getByRole("button", { name: /^Apply to \d+ agents$/ });
  const many = Number(/\d+/.exec(await button.textContent())[0]);
  await button.click();
  await dialog.getByText("nothing is to be changed").waitFor();
  await dialog.getByLabel("Sends at most (KiB/s)").fill("512");
  await button.click();
  await dialog.getByRole("row", { name: /^a / }).getByText("applied", { exact: true }).waitFor();
  assert.equal(await dialog.getByRole("row", { name: /waiting/ }).count(), many - 1);
  assert.equal((await ask("/agents/a/settings")).effective.rate_limit_upload, 512);
  await dialog.getByRole("button", { name: "Done" }).click();
}

try {
  for (const step of [kinds, refused, many, motion, history, attention, proxy, byTag]) {
    try {
      await step();
    } catch (error) {
      await page.screenshot({ path: `${order.out}/${step.name}.png`, fullPage: true });
      error.message = `${step.name}: ${error.message}`;
      throw error;
    }
  }
} finally {
  await browser.close();
}
assert.deepEqual(problems, []);
console.log("the fleet is as it should be");
