// The whole story in a real browser, against real daemons: story.mjs ORDER (JSON: url, password, out, address, source, target, build)
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { firstLogin, login, open } from "./browser.mjs";

const order = JSON.parse(process.argv[2]);
const FRESH = "a better password";
const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const LIMIT_KIB = 2000;
const daemons = [];

function start(program, ...args) {
  const child = spawn(`${order.build}/${program}`, args, { stdio: ["ignore", "ignore", "inherit"] });
  daemons.push(child);
  return child;
}

function check(condition, what) {
  if (!condition) throw new Error(what);
}

/** What axe finds serious or worse. Injected into the page's main world, where the policy for scripts does not reach. */
async function accessible(page, where) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const bad = result.violations.filter((v) => ["serious", "critical"].includes(v.impact));
  check(bad.length === 0, `${where}: ${JSON.stringify(bad.map((v) => [v.id, v.nodes.map((n) => n.target.join(" "))]))}`);
}

/** RFC 6238. */
function code(secret) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replace(/=+$/, "")].map((c) => alphabet.indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const digest = createHmac("sha1", key).update(counter).digest();
  const at = digest[19] & 15;
  return String((digest.readUInt32BE(at) & 0x7fffffff) % 1000000).padStart(6, "0");
}

const nav = (page, name) => page.getByRole("navigation").getByRole("link", { name }).click();
const row = (page, text) => page.getByRole("row").filter({ hasText: text });

async function addProxy(page) {
  await nav(page, "Proxies");
  await page.getByRole("link", { name: "Add a proxy" }).click();
  await page.getByLabel("Name").fill("hub");
  await page.getByLabel("Address").fill("nonsense");
  await page.getByRole("button", { name: "Make proxy.json" }).click();
  await page.getByText("HOST:PORT").first().waitFor();
  await page.getByLabel("Address").fill(order.address);
  await page.getByRole("button", { name: "Make proxy.json" }).click();
  const config = await page.getByLabel("proxy.json", { exact: true }).last().textContent();
  await accessible(page, "proxy dialog");
  await page.getByRole("button", { name: "Done" }).click();
  writeFileSync(`${order.out}/proxy.json`, config, { mode: 0o600 });
  start("fairlead-proxy", "--config", `${order.out}/proxy.json`);
  await row(page, "hub").getByText("connected", { exact: true }).waitFor({ timeout: 60000 });
}

async function addAgents(page) {
  await nav(page, "Agents");
  await page.getByRole("link", { name: "Add an agent" }).click();
  await page.getByLabel("I approve each newcomer first").check();
  await page.getByRole("button", { name: "Make agent.json" }).click();
  const config = JSON.parse(await page.getByLabel("agent.json", { exact: true }).last().textContent());
  await page.getByRole("button", { name: "Done" }).click();
  for (const name of ["left", "right"]) {
    // By the proxy alone: its limit is to be seen.
    writeFileSync(`${order.out}/${name}.json`, JSON.stringify({ ...config, device_name: name, direct: "never" }), { mode: 0o600 });
    start("fairlead-agent", "--config", `${order.out}/${name}.json`, "--state", `${order.out}/${name}`);
  }
  for (const name of ["left", "right"]) {
    await row(page, name).getByText("pending", { exact: true }).waitFor({ timeout: 60000 });
    await row(page, name).getByRole("link", { name }).click();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByRole("heading", { name: `${name} online` }).waitFor({ timeout: 60000 });
    await nav(page, "Agents");
  }
}

/** A setting of the proxy's, by its page; waits until the proxy has it and the console has confirmed. */
async function setRate(page, value) {
  await nav(page, "Proxies");
  await row(page, "hub").getByRole("link", { name: "hub" }).click();
  await page.getByLabel("Rate of the proxy").fill(value);
  const version = async () => (await (await page.request.get("/api/v1/proxies/hub/settings")).json()).version;
  const before = await version();
  await page.getByRole("button", { name: "Apply" }).click();
  while ((await version()) === before) await page.waitForTimeout(50);
  await page.locator(".card").filter({ hasText: "Settings" }).getByText("applied", { exact: true }).first().waitFor({ timeout: 60000 });
}

/** What the console says of the run: bytes and speed. */
const latest = async (page) => (await (await page.request.get("/api/v1/jobs")).json()).items[0].run;

/** The limit that was set holds: the run goes on, not faster than that over a second or more. Then it is lifted. */
async function limitBites(page) {
  await page.getByRole("progressbar", { name: "progress of the run" }).waitFor();
  let first = await latest(page);
  while (first.bytes_done === 0) first = await (await page.waitForTimeout(100), latest(page));
  const started = Date.now();
  let second = first;
  while (Date.now() - started < 2500 || second.bytes_done === first.bytes_done) second = await (await page.waitForTimeout(200), latest(page));
  const seconds = (Date.now() - started) / 1000;
  check(second.state === "running", `the run was ${second.state} under the limit`);
  // Reports come every second or two, so a little more than the rate may show.
  const most = LIMIT_KIB * 1024 * (seconds + 3);
  check(second.bytes_done - first.bytes_done < most, `${second.bytes_done - first.bytes_done} bytes in ${seconds} s`);
  const shown = async () => Number(await page.getByRole("progressbar", { name: "progress of the run" }).getAttribute("aria-valuenow"));
  const before = await shown();
  while ((await shown()) <= before) await page.waitForTimeout(100); // progress is seen moving
  const job = page.url();
  await setRate(page, "");
  await page.goto(job);
}

async function drain(page) {
  await nav(page, "Proxies");
  await row(page, "hub").getByRole("link", { name: "hub" }).click();
  await page.getByRole("button", { name: "Drain" }).click();
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByRole("heading", { name: "hub draining" }).waitFor({ timeout: 60000 });
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("heading", { name: "hub connected" }).waitFor({ timeout: 60000 });
  await accessible(page, "proxy");
}

async function runJob(page) {
  await nav(page, "Jobs");
  await page.getByRole("link", { name: "New job" }).click();
  await page.getByLabel("Source agent").selectOption("left");
  await page.getByLabel("Source folder").fill(order.source.replace(/\/[^/]*$/, ""));
  await page.getByRole("button", { name: "Browse…" }).first().click();
  await page.getByRole("button", { name: `🗀 ${order.source.split("/").pop()}` }).click();
  await page.getByRole("button", { name: "file-0" }).first().waitFor();
  await accessible(page, "folder browser");
  await page.getByRole("button", { name: `Take ${order.source}` }).click();
  await page.getByLabel("Target agent").selectOption("right");
  await page.getByLabel("Target folder").fill(order.target);
  await accessible(page, "wizard");
  await page.getByRole("button", { name: "Create and start" }).click();
  await limitBites(page);
  await page.getByRole("heading", { name: "left to right done" }).waitFor({ timeout: 90000 });
  await page.getByText("40 / 40").first().waitFor();
  await accessible(page, "run");
}

/** An agent's own limit, by its page: applied, and shown as what is wanted. */
async function limitAgent(page) {
  await nav(page, "Agents");
  await row(page, "left").getByRole("link", { name: "left" }).click();
  const settings = page.locator(".card").filter({ hasText: "Sends at most" });
  await settings.getByLabel("Schedule").fill("someday");
  await settings.getByRole("button", { name: "Apply" }).click();
  await settings.getByText("someday").or(settings.getByText("refused", { exact: true })).first().waitFor({ timeout: 30000 });
  await settings.getByLabel("Schedule").fill("");
  await settings.getByLabel("Sends at most").fill("2048");
  await settings.getByRole("button", { name: "Apply" }).click();
  await settings.getByText("applied", { exact: true }).waitFor({ timeout: 30000 });
  await accessible(page, "agent");
}

/** A file that cannot be put in place, since a folder with something in it stands there; it alone is tried again. */
async function retry(page) {
  mkdirSync(`${order.target}-2/file-0/kept`, { recursive: true });
  await nav(page, "Jobs");
  await page.getByRole("link", { name: "New job" }).click();
  await page.getByLabel("Source agent").selectOption("left");
  await page.getByLabel("Source folder").fill(order.source);
  await page.getByLabel("Target agent").selectOption("right");
  await page.getByLabel("Target folder").fill(`${order.target}-2`);
  await page.getByLabel("Name").fill("again");
  await page.getByRole("button", { name: "Create and start" }).click();
  await page.getByRole("heading", { name: "again partial" }).waitFor({ timeout: 90000 });
  await accessible(page, "what was not done");
  await page.getByRole("checkbox", { name: "file-0" }).check();
  rmSync(`${order.target}-2/file-0`, { recursive: true });
  await page.getByRole("button", { name: "Retry these 1" }).click();
  await page.getByRole("heading", { name: "again done" }).waitFor({ timeout: 60000 });
  await page.getByText("1 / 1").first().waitFor();
}

/** A port is led by the same three steps; where the agents' files allow none, the page says which key would. */
async function forward(page) {
  await nav(page, "Jobs");
  await page.getByRole("link", { name: "New job" }).click();
  await page.getByRole("radio", { name: "Forward a port" }).check();
  await page.getByLabel("Listening agent").selectOption("left");
  await page.getByLabel("Listening port").fill("127.0.0.1:15432");
  await page.getByLabel("Target agent").selectOption("right");
  await page.getByLabel("Target host").fill("127.0.0.1:5432");
  await page.getByLabel("Name").fill("database");
  await accessible(page, "wizard of a forward");
  await page.getByRole("button", { name: "Create and start" }).click();
  await page.getByRole("heading", { name: "database failed" }).waitFor({ timeout: 30000 });
  await page.getByText("forward.").first().waitFor();
  await accessible(page, "forward");
}

async function secondFactor(page) {
  await nav(page, "Settings");
  await page.getByRole("button", { name: "Set up" }).click();
  const secret = (await page.getByLabel("secret", { exact: true }).textContent()).trim();
  await page.getByLabel("Code", { exact: true }).fill(code(secret));
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("A code of your authenticator app").waitFor();
  await accessible(page, "settings");
  return secret;
}

async function revoke(page) {
  await nav(page, "Agents");
  await row(page, "right").getByRole("link", { name: "right" }).click();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByRole("heading", { name: "right revoked" }).waitFor();
}

async function audit(page) {
  await nav(page, "Events");
  await page.getByRole("link", { name: "Audit", exact: true }).click();
  const log = page.getByRole("region", { name: "Audit log" });
  for (const what of ["add a proxy", "all that is wanted", "no new sessions", "the end of drain", "let a pending agent in", "create a job", "from now on a code", "shut an agent out"])
    await log.getByText(what).first().waitFor();
  await page.getByLabel("What", { exact: true }).fill("shut an agent");
  await log.getByText("let a pending agent in").first().waitFor({ state: "detached" });
  await log.getByText("shut an agent out").first().waitFor();
  await accessible(page, "audit");
  await page.getByRole("link", { name: "Events", exact: true }).last().click();
  await page.getByLabel("About").selectOption("job");
  await page.getByLabel("Which").fill("again");
  const events = page.getByRole("region", { name: "Events" });
  await events.getByText("left to right").first().waitFor({ state: "detached" });
  await events.getByText("job again was created").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);
  const saved = readFileSync(await download.path(), "utf8");
  check(saved.startsWith("n,time,level") && saved.includes("job again was created") && !saved.includes("left to right"), `what was saved: ${saved.slice(0, 300)}`);
  await accessible(page, "events");
}

async function story() {
  const { browser, newPage, problems } = await open(order.url);
  try {
    const page = await newPage();
    await page.goto("/");
    await page.getByLabel("User").waitFor();
    await accessible(page, "login");
    await firstLogin(page, "admin", order.password, FRESH);
    await page.getByText("Three steps to the first transfer").waitFor();
    await addProxy(page);
    await addAgents(page);
    await setRate(page, String(LIMIT_KIB));
    await runJob(page);
    await limitAgent(page);
    await retry(page);
    await forward(page);
    await nav(page, "Overview");
    await page.getByRole("link", { name: "agent left, online" }).waitFor();
    await accessible(page, "overview");
    const secret = await secondFactor(page);
    await drain(page);
    await revoke(page);
    await audit(page);
    await page.getByRole("button", { name: "Log out" }).click();
    await login(page, "admin", FRESH);
    await page.getByLabel("Code", { exact: true }).waitFor();
    check(secret.length >= 16, "a short secret");
    check(problems.length === 0, problems.join("\n"));
  } finally {
    await browser.close();
  }
}

try {
  await story();
  console.log("the whole story");
} finally {
  for (const daemon of daemons) daemon.kill("SIGTERM");
}
