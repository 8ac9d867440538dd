// Pictures of the console's pages: screens.mjs URL PASSWORD FOLDER [SCENE]
// Without a scene: all pages. A scene is a state of the world outside, and pictures of the pages that show it: SCENE-page-size-colours.png
import { mkdirSync } from "node:fs";
import { firstLogin, open, pages, SIZES } from "./browser.mjs";

const [url, password, folder, scene] = process.argv.slice(2);
const FRESH = "pictures of a console";
const SCENES = {
  empty: ["overview", "proxies", "agents", "jobs", "attention"],
  offline: ["overview", "attention", "proxies", "proxy", "agents", "agent"],
  full: ["overview", "attention", "proxies", "agents", "agents-by-tag"],
  lost: ["overview", "proxies"], // the console itself does not answer any more
};

/** Nobody is logged in yet. */
async function logins(page) {
  for (const [size, viewport] of Object.entries(SIZES))
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${folder}/login-${size}-${colorScheme}.png` });
    }
}

mkdirSync(folder, { recursive: true });
const { browser, newPage, problems } = await open(url);
const first = await newPage({ viewport: SIZES.wide });
await first.goto("/");
await first.getByLabel("User").waitFor();
const again = ["offline", "lost"].includes(scene); // of a console that was logged in at before
if (!again || (await first.request.post("/api/v1/session", { data: { user: "admin", password: FRESH } })).status() !== 200) {
  if (!scene) await logins(first);
  await firstLogin(first, "admin", password, FRESH);
}
const state = await first.context().storageState();

/** The picture of the README: the part of the overview that is seen first, after a while so that there is something to see. */
async function readme(page) {
  await page.waitForTimeout(22000);
  await page.screenshot({ path: `${folder}/readme.png` });
}

/** Parts of a form that are folded up are shown as well. */
const unfold = (page) => page.evaluate(() => document.querySelectorAll("details.part").forEach((part) => { part.open = true; }));

/** A screen as high as the page: what stays at an edge of the screen then stands at that edge of the picture. A dialog is seen as it is. */
async function whole(page, { width, height }) {
  if (await page.locator("dialog[open]").count()) return;
  await page.setViewportSize({ width, height: Math.max(height, await page.evaluate(() => document.documentElement.scrollHeight)) });
  await page.waitForTimeout(200);
}

async function picture(page, name, path, size, scheme) {
  await page.goto(`/${path}`);
  await page.getByRole("heading").or(page.getByText("There is no such")).first().waitFor();
  if (scene === "lost") {
    await page.context().setOffline(true);
    await page.locator(".banner").getByText("The console does not answer").waitFor();
  }
  await page.waitForTimeout(name === "overview" ? 4500 : 900);
  if (!scene && name === "overview" && size === "wide" && scheme === "light") await readme(page);
  if (name === "proxy" && scheme === "light") await unfold(page);
  await whole(page, SIZES[size]);
  await page.screenshot({ path: `${folder}/${scene ? `${scene}-` : ""}${name}-${size}-${scheme}.png` });
  await page.setViewportSize(SIZES[size]);
  await page.context().setOffline(false);
}

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const scheme of ["light", "dark"]) {
    const page = await newPage({ viewport, colorScheme: scheme, storageState: state });
    for (const [name, path] of Object.entries(await pages(page)))
      if (!scene || SCENES[scene].includes(name)) await picture(page, name, path, size, scheme);
    await page.context().close();
  }
}
await browser.close();
// What cannot be reached is in the browser's own log.
const real = scene === "lost" ? problems.filter((text) => !text.includes("net::ERR_INTERNET_DISCONNECTED")) : problems;
if (real.length) {
  console.error(real.join("\n"));
  process.exit(1);
}
