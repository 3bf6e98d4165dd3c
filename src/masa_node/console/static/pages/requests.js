/** Requests and usage: what is under way, what was, and who used what. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { loadRaces, read, tryRead } from "../api.js";
import { daysView, shareView } from "../parts/chart.js";
import { csvOf, save } from "../parts/export.js";
import { ending, endingKind } from "../parts/race.js";
import { choiceView, empty, headView, shown } from "../parts/show.js";
import { changed, rowOf, set, state } from "../store.js";
import { count, counted, dollars, ms, nameOf, plain, servedBy, time } from "../words.js";
import { chosenRaces, filterView } from "./races.js";

export const title = "Requests and usage";
const ROWS = 50;
const PERIODS = [["1d", "today"], ["7d", "7 days"], ["30d", "30 days"]];
const GROUPS = [["key,model", "key and model"], ["key", "key"], ["model", "model"], ["peer", "peer"], ["provider", "provider"]];
const HEADS = { key: "Key", model: "Model", peer: "Peer", use: "How", provider: "Provider" };
const USES = { ours: "used by this node", theirs: "used this node", own: "own callers" };
const AGAIN_MS = 5000;

let since = "30d";
let by = "key,model";
let days = null;
let rows = ROWS;
let said = "";
let countedAt = 0; // of the newest race when usage was read

export function open() {
  loadUsage();
}

async function loadUsage() {
  countedAt = state.races[0]?.number ?? 0;
  const [usage, found] = await Promise.all([tryRead(`/api/v1/usage?by=${by}&since=${since}&cost=true`), tryRead(`/api/v1/usage?by=day&since=${since}`)]);
  days = found;
  set({ usage });
}

setInterval(() => {
  const isShown = state.route.page === "requests" && !document.hidden && state.link === "live";
  if (isShown && (state.races[0]?.number ?? 0) !== countedAt) loadUsage();
}, AGAIN_MS);

export const view = () => html`
  ${headView("Requests and usage", "Never a prompt and never an answer: only who asked what, and what it took.")}
  <div class="stack">
    <section class="card"><h2>Under way</h2>${underWayView()}
      <div aria-live="polite">${said ? html`<p class="note">${said}</p>` : nothing}</div></section>
    <section class="card">
      <div class="head"><h2>Use</h2>${choiceView("Period", PERIODS, since, (value) => choose({ since: value }))}</div>
      ${shown(days, ({ lines }) => (lines.length > 1 ? daysView(lines) : nothing))}
      <div class="spaced">${choiceView("By", GROUPS, by, (value) => choose({ by: value }))}</div>
      ${shown(state.usage, usageView)}
    </section>
    <section class="card">
      <div class="head"><h2>History</h2><span class="buttons">
        <button class="quiet" @click=${() => exported("json")}>Save as JSON</button><button class="quiet" @click=${() => exported("csv")}>Save as CSV</button></span></div>
      ${filterView()}
      ${historyView(chosenRaces())}
    </section>
  </div>
`;

function choose(wish) {
  since = wish.since ?? since;
  by = wish.by ?? by;
  changed();
  loadUsage();
}

function underWayView() {
  if (!state.underWay.length) return empty("Nothing is under way", "Requests appear here the moment they come.");
  return html`
    <table class="wide">
      <caption class="unseen">Requests under way</caption>
      <thead><tr><th scope="col">Since</th><th scope="col">Model</th><th scope="col">Asked by</th><th scope="col">Endpoint</th><th scope="col"><span class="unseen">Cancel</span></th></tr></thead>
      <tbody>${repeat(state.underWay, rowOf, (each) => html`
        <tr data-request=${each.request_id}><td data-label="Since"><span>${time(each.came_at_unix_s)}</span></td><td data-label="Model"><span>${plain(each.model)}</span></td>
          <td data-label="Asked by"><span>${askedBy(each)}</span></td><td data-label="Endpoint"><span>${each.endpoint}${each.stream ? ", streamed" : ""}</span></td>
          <td data-label=""><button class="quiet" ?disabled=${!mayEnd(each)} @click=${() => cancel(each)}>Cancel<span class="unseen"> request ${each.request_id}</span></button></td></tr>`)}</tbody>
    </table>
    ${state.underWay.every(mayEnd) ? nothing : html`<p class="soft small">To cancel what others asked, run <code>masa-node console</code>, or use a key made with <code>--admin</code>.</p>`}
  `;
}

const askedBy = ({ key, peer }) => (peer ? html`peer ${nameOf(peer)}` : plain(key));

/** Whoever asked may end it; to end what others asked takes the right to change the node. */
const mayEnd = ({ key }) => Boolean(state.me?.may_change || (key && key === state.me?.name));

async function cancel({ request_id: id }) {
  try {
    const { ended } = await read(`/api/v1/requests/${encodeURIComponent(id)}`, { method: "DELETE" });
    said = `${counted(ended, "request")} ended: its LLM was stopped.`;
  } catch (error) {
    said = error.message;
  }
  await loadRaces();
}

function usageView({ counted: isCounted, priced, lines }) {
  if (!isCounted) return empty("Nothing is counted", html`<code>USAGE=off</code> is set. Without it the node counts who used what.`);
  if (!lines.length) return empty("No request in this time", html`Choose a longer one, or <a href="#/ask">ask something</a>.`);
  const groups = Object.keys(HEADS).filter((name) => name in lines[0]);
  const most = Math.max(...lines.map((line) => line.requests));
  return html`
    <table class="wide">
      <caption class="unseen">Use by ${Object.fromEntries(GROUPS)[by]}</caption>
      <thead><tr>${groups.map((name) => html`<th scope="col">${HEADS[name]}</th>`)}
        ${["Requests", "Errors", "Tokens in", "Tokens out", "First piece", "Seconds", ...(priced ? ["Cost"] : [])].map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
      <tbody>${lines.map((line) => html`<tr>
        ${groups.map((name) => html`<td data-label=${HEADS[name]}><span>${groupWords(name, line[name])}</span></td>`)}
        <td class="number" data-label="Requests"><span>${count(line.requests)}${shareView(line.requests, most)}</span></td>
        <td class="number" data-label="Errors"><span>${count(line.errors)}</span></td>
        <td class="number" data-label="Tokens in"><span>${tokens(line.input_tokens, line.input_unknown)}</span></td>
        <td class="number" data-label="Tokens out"><span>${tokens(line.output_tokens, line.output_unknown)}</span></td>
        <td class="number" data-label="First piece"><span>${ms(line.first_piece_ms)}</span></td>
        <td class="number" data-label="Seconds"><span>${count(Math.round(line.seconds * 10) / 10)}</span></td>
        ${priced ? html`<td class="number" data-label="Cost"><span>${cost(line)}</span></td>` : nothing}</tr>`)}</tbody>
    </table>
    ${priced ? html`<p class="soft small">Costs are estimates by the list prices of vendors. Own LLMs and peers have none.</p>` : nothing}
  `;
}

function groupWords(name, value) {
  if (name === "use") return USES[value] ?? value;
  if (name === "peer" || name === "provider") return value ? nameOf(value) : "–";
  return value ? plain(value) : "–";
}

/** What no LLM reported is unknown, not none. */
const tokens = (number, unknown) => (number === null ? "unknown" : `${count(number)}${unknown ? ` (+${count(unknown)} unknown)` : ""}`);

/** What has no list price is unknown, not free. */
function cost({ cost_usd: known, cost_unknown: unknown }) {
  if (known === null) return "unknown";
  return `${dollars(known)}${unknown ? ` (+${count(unknown)} unknown)` : ""}`;
}

function historyView(found) {
  if (!found.length) return empty("No request", state.races.length ? "None fits what is chosen above." : html`<a href="#/ask">Ask something</a>, and it stands here.`);
  return html`
    <table class="wide">
      <caption class="unseen">Requests that ended, newest first</caption>
      <thead><tr><th scope="col">When</th><th scope="col">Asked by</th><th scope="col">Model</th><th scope="col">Answered by</th><th scope="col">Ended</th>
        <th scope="col" class="number">Tokens</th><th scope="col" class="number">First piece</th><th scope="col" class="number">All</th></tr></thead>
      <tbody>${repeat(found.slice(0, rows), (race) => race.number, historyRow)}</tbody>
    </table>
    <p class="buttons">
      ${found.length > rows ? html`<button @click=${() => { rows += ROWS; changed(); }}>Show more</button>` : nothing}
      ${found.length <= rows && state.before ? html`<button @click=${older}>Older ones</button>` : nothing}
    </p>
  `;
}

const historyRow = (race) => html`
  <tr><td data-label="When"><a class="nowrap" href="#/races/${encodeURIComponent(race.request_id)}">${time(race.came_at_unix_s)}<span class="unseen">, its race</span></a></td>
    <td data-label="Asked by"><span>${askedBy(race)}</span></td><td data-label="Model"><span>${plain(race.model)}</span></td>
    <td data-label="Answered by"><span>${servedBy(race)}</span></td>
    <td data-label="Ended"><span class="tag ${endingKind(race)}">${ending(race)}</span></td>
    <td class="number" data-label="Tokens"><span>${count(race.input_tokens)} / ${count(race.output_tokens)}</span></td>
    <td class="number" data-label="First piece"><span>${ms(race.first_piece_ms)}</span></td>
    <td class="number" data-label="All"><span>${ms(race.total_ms)}</span></td></tr>
`;

async function older() {
  const { value } = await tryRead(`/api/v1/races?limit=1000&before=${state.before}`);
  if (value) set({ races: [...state.races, ...value.races], before: value.before });
}

function exported(form) {
  const found = chosenRaces();
  if (form === "json") save("masa-requests.json", "application/json", JSON.stringify(found, null, 2));
  else save("masa-requests.csv", "text/csv", csvOf(found));
}
