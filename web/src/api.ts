// The REST API, and the session that it is used with.
import { signal } from "@preact/signals";
import type { List, Problem, Session } from "./types";

const BASE = "/api/v1";

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
}

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Who is logged in; undefined: not known yet; null: nobody. */
export const session = signal<Session | null | undefined>(undefined);
/** False while the console does not answer at all. */
export const reachable = signal(true);

async function problemOf(response: Response): Promise<Problem> {
  try {
    return (await response.json()) as Problem;
  } catch {
    return { title: response.statusText, status: response.status, detail: `the console answered ${response.status}` };
  }
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session.value) headers["X-CSRF-Token"] = session.value.csrf;
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method, headers, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    reachable.value = false;
    throw new ApiError({ title: "No answer", status: 0, detail: "the console does not answer" });
  }
  reachable.value = true;
  if (response.status === 401 && !path.startsWith("/session")) session.value = null;
  if (!response.ok) throw new ApiError(await problemOf(response));
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export const get = <T>(path: string) => call<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}) => call<T>("POST", path, body);
export const put = <T>(path: string, body: unknown) => call<T>("PUT", path, body);
export const patch = <T>(path: string, body: unknown) => call<T>("PATCH", path, body);
export const remove = (path: string) => call<void>("DELETE", path);

export const items = async <T>(path: string): Promise<T[]> => (await get<List<T>>(path)).items;

/** Who is logged in, by the cookie. A console that does not answer says nothing about it. */
export async function findSession(): Promise<void> {
  try {
    session.value = await get<Session>("/session");
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 401) session.value = null;
  }
}

export async function login(user: string, password: string, code: string): Promise<void> {
  session.value = await post<Session>("/session", code ? { user, password, code } : { user, password });
}

export async function logout(): Promise<void> {
  await remove("/session").catch(() => undefined);
  session.value = null;
}

export const may = (what: "operate" | "administer"): boolean => {
  const role = session.value?.role;
  return role === "admin" || (what === "operate" && role === "operator");
};
