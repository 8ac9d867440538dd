// A browser for the page's tests and pictures: Debian's Chromium, driven by playwright-core.
import { chromium } from "playwright-core";
import { execFileSync } from "node:child_process";

export function chromiumPath() {
  return process.env.CHROMIUM || execFileSync("sh", ["-c", "command -v chromium || command -v chromium-browser"], { encoding: "utf8" }).trim();
}

/** A browser whose pages fail the run when they log an error or ask another origin for anything. */
export async function open(url) {
  const browser = await chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const problems = [];
  const newPage = async (options = {}) => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, baseURL: url, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20000);
    page.on("console", (message) => {
      // A refused login answers 401, and the browser says so by itself.
      if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) problems.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
    page.on("request", (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith("blob:")) problems.push(`another origin: ${request.url()}`);
    });
    return page;
  };
  return { browser, newPage, problems };
}

/** Waits until @test is true in the page. (waitForFunction would at times evaluate a string there, which the page's policy forbids.) */
export async function until(page, test, argument) {
  const end = Date.now() + 60000;
  while (!(await page.evaluate(test, argument))) {
    if (Date.now() > end) throw new Error(`waited a minute in vain for ${test}, ${argument}`);
    await page.waitForTimeout(100);
  }
}

export async function login(page, user, password) {
  await page.goto("/");
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** The first login: the password that was made is changed. */
export async function firstLogin(page, user, password, fresh) {
  await login(page, user, password);
  await page.getByRole("heading", { name: "A password of your own" }).waitFor();
  await page.getByLabel("Present password").fill(password);
  await page.getByLabel("New password", { exact: true }).fill(fresh);
  await page.getByLabel("New password again").fill(fresh);
  await page.getByRole("button", { name: "Change the password" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
}

export const SIZES = { wide: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

/** Every page of the console by a short name, with what is there: the first proxy, agent and job in their lists. */
export async function pages(page) {
  const first = async (path) => (await (await page.request.get(`/api/v1/${path}`)).json()).items[0]?.id;
  const [proxy, agent, job] = [await first("proxies"), await first("agents"), await first("jobs")];
  const all = {
    overview: "#/", attention: "#/attention", proxies: "#/proxies", "proxy-add": "#/proxies/add", proxy: proxy && `#/proxies/${proxy}`,
    agents: "#/agents", agent: agent && `#/agents/${agent}`, "agent-add": "#/agents/add", "agents-by-tag": agent && "#/agents/by-tag",
    jobs: "#/jobs", job: job && `#/jobs/${job}`, "job-new": "#/jobs/new", events: "#/events", settings: "#/settings", nowhere: "#/agents/nobody",
  };
  return Object.fromEntries(Object.entries(all).filter(([, path]) => path));
}
