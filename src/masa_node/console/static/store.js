/** The one store: what the console knows. Whoever draws is told, once a frame, that something changed. */

const BEARER = "masa.bearer"; // of sessionStorage: it ends with the tab

export const KEPT_RACES = 1000; // as many as the node itself remembers by default

export const state = {
  route: { page: "", argument: "" },
  gate: "", // why a key is asked for; "" while none is
  link: "connecting", // connecting, live, lost, or crowded: the node has no place for one more listener
  me: null,
  races: [], // the newest first
  before: null, // leads to older ones
  underWay: [],
  // What was read, each as { value, error }:
  node: null,
  peers: null,
  models: null,
  ready: null,
  doctor: null,
  invites: null,
  usage: null,
};

const listeners = new Set();
let isDue = false;

/** Take over these fields, and have the page drawn again. */
export function set(fields) {
  Object.assign(state, fields);
  changed();
}

/** Have the page drawn again, for what a page itself keeps. */
export function changed() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const listener of listeners) listener();
  });
}

/** From now on `listener` is called after each change. */
export function onChange(listener) {
  listeners.add(listener);
}

/** A race that ended: the newest, and no longer under way. As many stay as the reader has fetched. */
export function addRace(race) {
  const others = state.races.filter((each) => each.number !== race.number);
  const all = [race, ...others].sort((one, other) => other.number - one.number);
  const races = all.slice(0, Math.max(KEPT_RACES, state.races.length));
  const before = races.length < all.length ? races.at(-1).number : state.before;
  set({ races, before, underWay: withoutOne(state.underWay, race) });
}

/** A request that began. */
export function addUnderWay(request) {
  set({ underWay: [...state.underWay.filter((each) => rowOf(each) !== rowOf(request)), request] });
}

/** What tells rows of requests under way apart: an id may be a caller's own, and there twice. */
export const rowOf = (request) => `${request.request_id} ${request.came_at_unix_s}`;

/** Of several with this race's id, the one that came when it did has ended. */
function withoutOne(underWay, race) {
  const distance = (each) => Math.abs(each.came_at_unix_s - race.came_at_unix_s);
  const found = underWay.filter((each) => each.request_id === race.request_id).sort((one, other) => distance(one) - distance(other));
  return underWay.filter((each) => each !== found[0]);
}

/** The session or key of this tab; "" for none. */
export const bearer = () => sessionStorage.getItem(BEARER) ?? "";

/** Keep it for this tab. */
export const keepBearer = (text) => sessionStorage.setItem(BEARER, text);

/** Forget it. */
export const forgetBearer = () => sessionStorage.removeItem(BEARER);
