// A page whose console goes away and comes back: lost.mjs ORDER (JSON: url, user, password). What is done to the console is done by who
// started this: it says a word on each line of standard output, and goes on with a line of standard input.
import { createInterface } from "node:readline";
import { login, open } from "./browser.mjs";

const order = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function say(word) {
  console.log(word);
  return (await lines.next()).value;
}

function check(condition, what) {
  if (!condition) throw new Error(what);
}

const nav = (page, name) => page.getByRole("navigation").getByRole("link", { name }).click();
const gone = (page) => page.getByText("What is shown is of").waitFor();
const back = async (page) => {
  await page.getByText("What is shown is of").waitFor({ state: "detached", timeout: 60000 });
  await page.getByText("connected to the console again").first().waitFor();
};

const { browser, newPage, problems } = await open(order.url);
const page = await newPage();
await login(page, order.user, order.password);
await page.getByRole("heading", { name: "Overview" }).waitFor();

// What all pages share is not shown as empty either while it was never there, and comes when it is asked for again.
await page.route(/\/api\/v1\/(agents|proxies|jobs)(\?|$)/, (route) => route.abort());
await page.reload();
for (const [name, list] of [["Agents", "agents"], ["Jobs", "jobs"], ["Proxies", "proxies"]]) {
  await nav(page, name);
  await page.getByText(`The ${list} could not be loaded.`).waitFor();
  check((await page.getByText(/^No (agent|job|proxy) yet/).count()) === 0, `${list}: an empty list instead of a failed one`);
}
await page.unroute(/\/api\/v1\/(agents|proxies|jobs)(\?|$)/);
await page.getByRole("button", { name: "Try again" }).click();
await page.getByRole("cell", { name: "first", exact: true }).waitFor();
await nav(page, "Events");
await page.getByRole("cell", { name: /proxy first was added/ }).waitFor();

// Killed while the page is open: it says so at once, and shows no list as empty that it could not ask for.
await say("kill it");
await gone(page);
check(await page.getByRole("cell", { name: /proxy first was added/ }).isVisible(), "what was known is still shown");
await page.getByLabel("Text", { exact: true }).fill("second");
await page.getByText("The events could not be loaded").waitFor();
check(!(await page.getByText("Nothing fits").isVisible()), "an empty list instead of a failed one");
await nav(page, "Settings");
for (const list of ["The users", "The tokens", "The notifications", "The mail server"]) await page.getByText(`${list} could not be loaded.`).waitFor();
check((await page.getByRole("table").count()) === 0, "no table of what could not be asked for");
await page.getByRole("button", { name: "Try again" }).first().click();
await page.getByText("The users could not be loaded.").waitFor();
await page.screenshot({ path: `${order.out}/lost.png`, fullPage: true });

// Back: by itself, logged in as before, with what happened meanwhile.
await say("start it");
await back(page);
await page.getByRole("table", { name: "Users" }).getByRole("cell", { name: order.user, exact: true }).first().waitFor();
check((await page.getByText("could not be loaded").count()) === 0, "all is loaded");
await page.getByRole("button", { name: "Add", exact: true }).first().click(); // what changes something works with the new second value
const dialog = page.getByRole("dialog");
await dialog.getByLabel("Name").fill("vera");
await dialog.getByRole("button", { name: "Add", exact: true }).click();
await page.getByLabel("password", { exact: true }).waitFor();
await page.getByRole("button", { name: "Done" }).click();
await page.getByRole("table", { name: "Users" }).getByRole("cell", { name: "vera", exact: true }).waitFor();
await nav(page, "Events");
await page.getByLabel("Text", { exact: true }).fill("");
await page.getByRole("cell", { name: /while it was away 7/ }).waitFor();

// The stream lives again: what happens now is seen now, without another request of ours.
await say("add third");
await page.getByRole("cell", { name: /proxy third was added/ }).waitFor();

// Away while more happens than is told again: the page has the latest all the same.
await say("kill it");
await gone(page);
await say("start it");
await back(page);
await page.getByRole("cell", { name: /while it was away 1499/ }).waitFor();

// The session ends meanwhile: back to the login, and from there to the page that was open.
await say("kill it");
await gone(page);
await say("start it without sessions");
await page.getByLabel("Password", { exact: true }).waitFor({ timeout: 60000 });
await page.getByLabel("Password", { exact: true }).fill(order.password);
await page.getByRole("button", { name: "Log in" }).click();
await page.getByRole("heading", { name: "Events" }).waitFor();
await page.getByRole("cell", { name: /while it was away 1499/ }).waitFor();

await browser.close();
const real = problems.filter((text) => !/net::ERR_(CONNECTION|EMPTY|INCOMPLETE|SOCKET|NETWORK|HTTP2|FAILED)|ERR_SSL/.test(text));
if (real.length) {
  console.error(real.join("\n"));
  process.exit(1);
}
await say("done");
process.exit(0);
