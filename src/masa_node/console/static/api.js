/** Every request to the node goes through here: with the tab's key, and with errors in the node's own words. */

import { bearer, forgetBearer, set, state } from "./store.js";

const UNAUTHORIZED = 401;
const ME = "/api/v1/console/me";

/** The node said no (`status` is HTTP's), or was not reached (0). The message is for people. */
export class NodeError extends Error {
  constructor(status, message, headers = new Headers()) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** The answer, its body unread; `isAnonymous` leaves the key out. Raises `NodeError`; of an abort, the browser's own error. */
export async function ask(path, { method = "GET", body, signal, headers = {}, isAnonymous = false } = {}) {
  const sent = { ...headers };
  if (bearer() && !isAnonymous) sent.Authorization = `Bearer ${bearer()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const options = { method, headers: sent, body: text, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  const response = await reached(path, options);
  if (response.ok) return response;
  const error = new NodeError(response.status, await wordsOf(response), response.headers);
  if (response.status === UNAUTHORIZED && !isAnonymous) askForKey(error.message);
  throw error;
}

async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NodeError(0, "The node is not reached. Does it run? `masa-node up` starts it.");
  }
}

async function wordsOf(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error : error.message;
  } catch {
    return text.slice(0, 300) || `The node answered with status ${response.status}.`;
  }
}

function askForKey(words) {
  const had = bearer() !== "";
  forgetBearer();
  if (had) set({ gate: `The node does not take this key, or the session is over. ${words}` });
  else if (!state.gate) set({ gate: "Whoever uses this node needs a key. Its owner can give you one." });
}

/** Who the reader is to the node. If it does not know them, `gate` says why, unless it asks nobody for a key. */
export async function meet() {
  const had = bearer() !== "";
  const found = await tryRead(ME);
  const me = found.value ?? (had && !bearer() ? (await tryRead(ME)).value : null);
  if (me) set({ me, gate: "" });
}

/** The JSON that stands there. Raises `NodeError`. */
export async function read(path, options) {
  return (await ask(path, options)).json();
}

/** The same as `{ value, error }`: one of them is null. Nothing is raised. */
export async function tryRead(path, options) {
  try {
    return { value: await read(path, options), error: null };
  } catch (error) {
    return { value: null, error: error.message };
  }
}

/** End the session of this tab, and of whoever else has it. */
export async function signOut() {
  await tryRead("/api/v1/console/session", { method: "DELETE" });
  forgetBearer();
  set({ me: null });
  await meet();
}

const PLACES = {
  node: "/api/v1/node",
  peers: "/api/v1/peers",
  models: "/api/v1/llm/models",
  invites: "/api/v1/invites",
};

const OWNERS = new Set(["peers", "invites"]);

/** Is what the owner alone may see kept from this reader? Not while it is not known who that is. */
export const isGuest = () => state.me?.is_owner === false;

/** Read these parts of the store again: node, peers, models, invites. What was there stays until then. */
export async function load(...names) {
  const allowed = names.filter((name) => !(isGuest() && OWNERS.has(name)));
  await Promise.all(allowed.map(async (name) => set({ [name]: await newer(state[name], PLACES[name]) })));
}

/** While the node is away, what it said last is better than nothing. */
async function newer(old, place) {
  const found = await tryRead(place);
  return found.error && state.link === "lost" && old ? old : found;
}

/** `GET /readyz` says with 503 why nothing can be asked: that is an answer, too. */
export async function loadReady() {
  try {
    const response = await fetch("/readyz", { cache: "no-store", headers: authorized() });
    set({ ready: { value: await response.json(), error: null } });
  } catch {
    set({ ready: state.ready ?? { value: null, error: "The node is not reached." } });
  }
}

const authorized = () => (bearer() ? { Authorization: `Bearer ${bearer()}` } : {});

/** What is under way, and the last races. */
export async function loadRaces() {
  const [races, requests] = await Promise.all([tryRead("/api/v1/races?limit=1000"), tryRead("/api/v1/requests")]);
  if (races.value) set({ races: races.value.races, before: races.value.before });
  if (requests.value) set({ underWay: requests.value.requests });
}

/** The doctor's report, for the owner; `everything` asks the LLM servers, too, which takes seconds. */
export async function loadDoctor(everything) {
  if (isGuest()) return;
  set({ doctor: await tryRead(everything ? "/api/v1/doctor" : "/api/v1/doctor?only=network") });
}
