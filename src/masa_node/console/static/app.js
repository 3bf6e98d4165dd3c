/** The start of the console: lets the reader in, follows the address, and draws the frame with the page in it. */

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { meet, read, signOut } from "./api.js";
import { follow } from "./live.js";
import { dialogView } from "./parts/confirm.js";
import { gateView } from "./parts/gate.js";
import { bearer, changed, keepBearer, onChange, set, state } from "./store.js";
import { plain } from "./words.js";
import * as ask from "./pages/ask.js";
import * as home from "./pages/home.js";
import * as network from "./pages/network.js";
import * as races from "./pages/races.js";
import * as requests from "./pages/requests.js";

const PAGES = { "": home, ask, races, network, requests };
const TOKEN = /^#token=([\w.~-]{1,512})$/;
const LINKS = {
  connecting: ["", "connecting"],
  live: ["good", "live"],
  lost: ["bad", "disconnected"],
  crowded: ["warn", "every 5 s"],
};
const root = document.getElementById("app");
let shown = null;
let focused = null; // the last thing in the page that had the focus
let isTaken = false; // it was disabled since, and a browser takes the focus from what is

/** A console link's token becomes a session; it is gone from the address before anything else happens. */
async function takeToken(hash) {
  const found = TOKEN.exec(hash);
  if (!found) return;
  if (location.hash === hash) history.replaceState(null, "", "#/");
  try {
    const body = { token: found[1] };
    const answer = await read("/api/v1/console/session", { method: "POST", body, isAnonymous: true });
    keepBearer(answer.session);
    set({ me: null, gate: "" });
  } catch (error) {
    if (!bearer()) set({ gate: error.message }); // a bad link signs nobody out
  }
}

function go() {
  const [, page = "", argument = ""] = /^#\/([a-z]*)\/?(.*)$/.exec(location.hash) ?? [];
  const known = Object.hasOwn(PAGES, page) ? page : "";
  set({ route: { page: known, argument: decoded(argument) } });
  PAGES[known].open?.(state.route.argument);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function draw() {
  const page = PAGES[state.route.page];
  render(state.gate ? gateView(enter) : frame(page), root);
  document.title = state.gate ? "Masa Node" : `${page.title} · Masa Node`;
  const place = state.gate ? "gate" : `${state.route.page}/${state.route.argument}`;
  if (shown !== null && shown !== place) root.querySelector("h1")?.focus();
  shown = root.dataset.place = place; // tests wait for it
  keepFocus();
}

/** A button that is disabled while the node works gets its focus back: else whoever uses the keyboard starts anew. */
function keepFocus() {
  if (focused?.disabled) isTaken = true;
  else if (isTaken && document.activeElement === document.body) focused?.focus({ preventScroll: true });
}

const frame = (page) => html`
  <a class="skip" href="#main" @click=${skip}>Skip to the page</a>
  <header class="top">
    <a class="brand" href="#/"><img src="mark.svg" alt="" width="26" height="26">Masa Node</a>
    <nav aria-label="Pages">${Object.entries(PAGES).map(tab)}</nav>
    ${stateView()}
  </header>
  <main id="main" tabindex="-1">${page.view()}</main>
  ${dialogView()}
  <div aria-live="assertive">${state.link === "lost" ? banner : nothing}</div>
`;

const tab = ([name, page]) =>
  html`<a href="#/${name}" aria-current=${state.route.page === name ? "page" : nothing}>${page.title}</a>`;

const banner = html`<p class="banner">Disconnected: the node is not reached. Trying again …</p>`;

function stateView() {
  const [kind, words] = LINKS[state.link];
  const name = state.node?.value?.name;
  return html`<div class="state"><span class="dot ${kind}"></span>
    <span>${name ? html`<strong>${plain(name)}</strong> · ` : nothing}${words}</span>
    ${state.me?.by === "session" ? html`<button class="quiet" @click=${signOut}>Sign out</button>` : nothing}</div>`;
}

/** As the address is the page's, a plain link to #main would lead to another page. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

async function enter(key) {
  keepBearer(key);
  await meet();
  if (!state.gate) go();
}

/** At the start, and when the address changes: a console link may be pasted into a tab that is open. */
async function arrive(hash) {
  await takeToken(hash);
  if (!state.gate && !state.me) await meet();
  go();
}

root.addEventListener("focusin", ({ target }) => {
  focused = target;
  isTaken = false;
});
root.replaceChildren();
onChange(draw);
addEventListener("hashchange", (event) => arrive(new URL(event.newURL).hash)); // by then it may be another
await arrive(location.hash);
changed();
await follow();
