/** Follows the node: `GET /api/v1/events`, again and again, so that what it shows is true now. */

import { ask, load, loadRaces, loadReady, meet, NodeError } from "./api.js";
import { addRace, addUnderWay, set, state } from "./store.js";
import { eventsOf } from "./sse.js";

const UNAUTHORIZED = 401;
const AGAIN_MS = 1500; // a node that is back is seen within 5 s
const POLL_MS = 5000; // where there is no stream to be had
const SILENT_MS = 35_000; // the node says something each 15 s
const MISSED_MS = 5000; // after events were dropped: a node that drops them is busy, and a list of all races is long
let missed = 0;

/** For as long as the page is open. */
export async function follow() {
  for (;;) {
    await seen();
    if (!state.me && !state.gate) await meet();
    if (!state.gate) await listenOnce();
    await new Promise((resolve) => setTimeout(resolve, state.link === "crowded" ? POLL_MS : AGAIN_MS));
  }
}

/** A tab that nobody sees holds none of the six connections that a browser has for one address. */
async function seen() {
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/** Everything that is shown, anew. */
export async function loadAll() {
  await Promise.all([load("node", "peers", "models"), loadReady(), loadRaces()]);
}

async function listenOnce() {
  const silence = new Silence();
  try {
    const response = await ask("/api/v1/events", { signal: silence.signal });
    set({ link: "live" });
    await loadAll();
    for await (const { event, data } of eventsOf(response, () => silence.broken())) happened(event, JSON.parse(data));
    set({ link: "lost", me: null }); // whoever comes back may have forgotten the reader
  } catch (error) {
    if (document.hidden) set({ link: "connecting" });
    else await notListening(error);
  } finally {
    silence.end();
  }
}

async function notListening(error) {
  const answered = error instanceof NodeError && error.status > 0;
  set(answered ? { link: "crowded" } : { link: "lost", me: null });
  if (error.status === UNAUTHORIZED) await meet();
  else if (answered) await loadAll();
}

function happened(event, data) {
  if (event === "began") addUnderWay(data);
  if (event === "ended") addRace(data);
  if (event === "dropped") missed ||= setTimeout(catchUp, MISSED_MS);
  if (event === "changed") Promise.all([load("node", data.what === "models" ? "models" : "peers"), loadReady()]);
}

function catchUp() {
  missed = 0;
  loadRaces();
}

/** Aborts a stream that says nothing for too long, or that nobody looks at. */
class Silence {
  #abort = new AbortController();
  #timer = 0;
  #hid = () => document.hidden && this.#abort.abort();

  constructor() {
    document.addEventListener("visibilitychange", this.#hid);
    this.broken();
  }

  get signal() {
    return this.#abort.signal;
  }

  broken() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#abort.abort(), SILENT_MS);
  }

  end() {
    document.removeEventListener("visibilitychange", this.#hid);
    clearTimeout(this.#timer);
    this.#abort.abort();
  }
}
