// Pictures of every page: screens.mjs URL PASSWORD FOLDER
import { mkdirSync } from "node:fs";
import { firstLogin, open } from "./browser.mjs";

const [url, password, folder] = process.argv.slice(2);
const FRESH = "pictures of a console";
const SIZES = { wide: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

mkdirSync(folder, { recursive: true });
const { browser, newPage, problems } = await open(url);

const first = await newPage({ viewport: SIZES.wide });
await first.goto("/");
await first.getByLabel("User").waitFor();
await first.screenshot({ path: `${folder}/login-wide-light.png` });
await firstLogin(first, "admin", password, FRESH);
const state = await first.context().storageState();

async function pages(page) {
  const first = async (path) => (await (await page.request.get(`/api/v1/${path}`)).json()).items[0]?.id;
  return {
    overview: "#/", proxies: "#/proxies", proxy: `#/proxies/${await first("proxies")}`, agents: "#/agents", agent: `#/agents/${await first("agents")}`,
    "agent-add": "#/agents/add", jobs: "#/jobs", job: `#/jobs/${await first("jobs")}`, "job-new": "#/jobs/new", events: "#/events", settings: "#/settings",
  };
}

/** The picture of the README: the part of the overview that is seen first, after a while so that there is something to see. */
async function readme(page) {
  await page.waitForTimeout(22000);
  await page.screenshot({ path: `${folder}/readme.png` });
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const scheme of ["light", "dark"]) {
    const page = await newPage({ viewport, colorScheme: scheme, storageState: state });
    for (const [name, path] of Object.entries(await pages(page))) {
      await page.goto(`/${path}`);
      await page.getByRole("heading").first().waitFor();
      await page.waitForTimeout(name === "overview" ? 4500 : 700);
      if (name === "overview" && size === "wide" && scheme === "light") await readme(page);
      await page.screenshot({ path: `${folder}/${name}-${size}-${scheme}.png`, fullPage: true });
    }
    await page.context().close();
  }
}
await browser.close();
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
