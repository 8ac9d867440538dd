// Every page with what is there, in light and dark, each wide and on a phone: what axe finds serious, and what is wider than the screen.
// pages.mjs ORDER (JSON: url, password, paths: more pages by name, texts: what must come to stand on a page, by its name)
import { readFileSync } from "node:fs";
import { firstLogin, open, pages, SIZES, until } from "./browser.mjs";

const order = JSON.parse(process.argv[2]);
const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const { browser, newPage, problems } = await open(order.url);
let seen = 0;

const LOOKS = [["wide", "light"], ["wide", "dark"], ["phone", "light"], ["phone", "dark"]];

/** What axe finds serious or worse. Injected into the page's main world, where the policy for scripts does not reach. */
async function accessible(page, where) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const found of result.violations.filter((v) => ["serious", "critical"].includes(v.impact)))
    problems.push(`${where}: axe: ${found.id}: ${found.help}: ${found.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
}

async function fitsIn(page, where, width) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > width) problems.push(`${where}: ${wide} pixels wide on a screen of ${width}`);
}

const first = await newPage({ viewport: SIZES.wide });
await first.goto("/");
await first.getByLabel("User").waitFor();
for (const [size, colorScheme] of LOOKS) {
  await first.setViewportSize(SIZES[size]);
  await first.emulateMedia({ colorScheme });
  await accessible(first, `login, ${size}, ${colorScheme}`);
  await fitsIn(first, `login, ${size}, ${colorScheme}`, SIZES[size].width);
}
await firstLogin(first, "admin", order.password, "every page of a console");
const state = await first.context().storageState();

for (const [size, scheme] of LOOKS) {
  const page = await newPage({ viewport: SIZES[size], colorScheme: scheme, reducedMotion: "reduce", storageState: state });
  await page.goto("/");
  for (const [name, path] of Object.entries({ ...(await pages(page)), ...order.paths })) {
    const where = `${name}, ${size}, ${scheme}`;
    await page.evaluate((hash) => { location.hash = hash; }, path);
    await page.getByRole("heading").or(page.getByText("There is no such")).first().waitFor();
    await page.waitForTimeout(300); // for what the page asks for first
    await until(page, () => !document.querySelector("main")?.textContent.includes("Loading…"));
    for (const text of order.texts?.[name] ?? []) await page.locator("main").getByText(text).first().waitFor();
    await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
    await accessible(page, where);
    await fitsIn(page, where, SIZES[size].width);
    seen++;
  }
  await page.context().close();
}
await browser.close();
if (problems.length) {
  console.error([...new Set(problems)].join("\n"));
  process.exit(1);
}
console.log(`${seen} pages`);
