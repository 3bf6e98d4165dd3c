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

/** A race that ended: the newest, and no longer under way. */
export function addRace(race) {
  const others = state.races.filter((each) => each.number !== race.number);
  const races = [race, ...others].sort((one, other) => other.number - one.number).slice(0, KEPT_RACES);
  set({ races, underWay: state.underWay.filter((each) => each.request_id !== race.request_id) });
}

/** A request that began. */
export function addUnderWay(request) {
  set({ underWay: [...state.underWay.filter((each) => each.request_id !== request.request_id), request] });
}

/** The session or key of this tab; "" for none. */
export const bearer = () => sessionStorage.getItem(BEARER) ?? "";

/** Keep it for this tab. */
export const keepBearer = (text) => sessionStorage.setItem(BEARER, text);

/** Forget it. */
export const forgetBearer = () => sessionStorage.removeItem(BEARER);
