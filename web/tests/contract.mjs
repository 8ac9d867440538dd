// The console's answers against its own description, by ajv: contract.mjs ORDER (JSON: url, token, names: what stands for each {part})
// Every route that reads is asked, and every route what it says to somebody without a token and to a body that is none.
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";

const order = JSON.parse(process.argv[2]);
const problems = [];

async function ask(method, path, token = order.token, body) {
  const answer = await fetch(order.url + path, { method, body, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  const kind = answer.headers.get("content-type") ?? "";
  const text = await answer.text();
  return { status: answer.status, kind: kind.split(";")[0], value: kind.includes("json") && !kind.includes("jsonl") ? JSON.parse(text) : text };
}

const description = (await ask("GET", "/api/v1/openapi.json")).value;
const valid = await new Validator().validate(structuredClone(description));
if (!valid.valid) problems.push(`the description is no OpenAPI: ${JSON.stringify(valid.errors)}`);

const ajv = new Ajv({ strict: false, allErrors: true });
formats(ajv);
ajv.addSchema({ $id: "console", components: description.components });
const validators = new Map();

/** The check of a schema of the description. */
function checker(schema) {
  const key = JSON.stringify(schema);
  if (!validators.has(key)) validators.set(key, ajv.compile(JSON.parse(key.replaceAll('"#/components', '"console#/components'))));
  return validators.get(key);
}

function conforms(where, operation, answer) {
  const ok = answer.status >= 200 && answer.status < 300;
  const described = operation.responses[ok ? "2XX" : "default"].content ?? {};
  const schema = described[answer.kind]?.schema;
  if (Object.keys(described).length && !schema) return problems.push(`${where}: ${answer.kind} is not described`);
  if (!schema || schema.type === "string") return;
  const check = checker(schema);
  if (!check(answer.value)) problems.push(`${where}: ${answer.status}: ${ajv.errorsText(check.errors)}`);
}

let read = 0, refused = 0;
for (const [pattern, methods] of Object.entries(description.paths)) {
  const path = pattern.replace(/\{(\w+)\}/g, (_, name) => order.names[name] ?? "nobody");
  for (const [method, operation] of Object.entries(methods)) {
    const where = `${method.toUpperCase()} ${pattern}`;
    if (method === "get") {
      const session = JSON.stringify(operation.security) === '[{"session":[]}]';
      const answer = await ask("GET", path + (pattern.endsWith("/folders") ? "?path=/" : ""));
      if (!session && (answer.status < 200 || answer.status > 299)) problems.push(`${where}: ${answer.status}`);
      conforms(where, operation, answer);
      read++;
    }
    // What is wrong is told as described, too: no token, and a body that is none.
    for (const [token, body] of [["", undefined], [order.token, method === "get" ? undefined : "{"]]) {
      if (method === "get" && token) continue;
      if (method === "delete" && token) continue; // it would work
      const answer = await ask(method.toUpperCase(), path.replace(/[^/]+$/, (last) => (pattern.endsWith("}") ? "nobody" : last)), token, body);
      if (answer.status >= 300) conforms(`${where}, refused`, operation, answer), refused++;
    }
  }
}
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
console.log(`${read} answers and ${refused} refusals are as described`);
