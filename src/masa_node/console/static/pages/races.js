/** Races: live, a row a request; and one race, large, to be replayed. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { tryRead } from "../api.js";
import { axisEnd, ending, endingKind, rowsOf, sentence } from "../parts/race.js";
import { Replay } from "../parts/replay.js";
import { copyButton } from "../parts/paste.js";
import { empty, fact, headView } from "../parts/show.js";
import { legendView, smallAxis, smallLanes } from "../parts/timeline.js";
import { runningView } from "../parts/running.js";
import { changed, rowOf, state } from "../store.js";
import { count, ms, percentile, plain, servedBy, spaced, time } from "../words.js";

export const title = "Races";
const ROWS = 100; // at once; more are a click away
const AXIS_SHARE = 0.9; // so many of the rows fit on the axis; a slow one ends at its edge

const filter = { model: "", failed: "", key: "" };
let rows = ROWS;
let one = null; // { id, race, error, replay }

/** The address leads to a race, or to all of them. */
export async function open(id) {
  one?.replay?.stop();
  one = id ? { id, race: null, error: "", replay: null } : null;
  if (!id) return;
  const asked = one;
  const known = state.races.find((race) => race.request_id === id);
  const { value, error } = known ? { value: known } : await tryRead(`/api/v1/races/${encodeURIComponent(id)}`);
  Object.assign(asked, { race: value, error, replay: value ? new Replay(value) : null });
  changed();
}

export const view = () => (one ? oneView() : allView());

/** The races that the reader wants to see. */
export function chosenRaces() {
  return state.races.filter(
    (race) =>
      (!filter.model || race.model === filter.model) &&
      (!filter.key || race.key === filter.key) &&
      (!filter.failed || (filter.failed === "failed") === (race.error !== null)),
  );
}

function allView() {
  const found = chosenRaces();
  return html`
    ${headView("Races", "Each request is a race between those that serve its model. The first valid piece of an answer wins; the others are cancelled.")}
    <section class="card">
      ${filterView(searchView)}
      ${tableView(found)}
      ${legendView()}
    </section>
  `;
}

const distinct = (field) => [...new Set(state.races.map((race) => race[field]).filter(Boolean))].sort();

/** Choices for what of the journal is shown; Requests has the same. */
export const filterView = (more = nothing) => html`
  <form class="fields" @submit=${searched}>
    ${selectView("Model", "model", distinct("model"), "all models")}
    ${selectView("Key", "key", distinct("key"), "all keys")}
    ${selectView("Ended", "failed", ["answered", "failed"], "in any way")}
    ${more}
  </form>
`;

const searchView = html`<label>X-Request-Id <input name="id" placeholder="Enter leads to its race" autocomplete="off" spellcheck="false"></label>`;

function searched(event) {
  event.preventDefault();
  const id = event.target.elements.id?.value.trim();
  if (id) location.hash = `#/races/${encodeURIComponent(id)}`;
}

const selectView = (label, field, values, all) => html`
  <label>${label}
    <select @change=${(event) => chosen(field, event.target.value)}>
      <option value="" ?selected=${!filter[field]}>${all}</option>
      ${values.map((value) => html`<option value=${value} ?selected=${filter[field] === value}>${plain(value)}</option>`)}
    </select></label>
`;

function chosen(field, value) {
  filter[field] = value;
  rows = ROWS;
  changed();
}

function tableView(found) {
  if (!found.length && !state.underWay.length) {
    return state.races.length
      ? empty("None fits", "Choose other models, keys or endings above.")
      : empty("No request has come yet", html`Ask something: on the page <a href="#/ask">Ask</a>, or with one of the programs on <a href="#/">Home</a>.`);
  }
  const shown = found.slice(0, rows);
  const end = percentile(shown.map((race) => axisEnd(race, false)), AXIS_SHARE) ?? 100;
  return html`
    <table class="races wide">
      <caption class="unseen">The last requests, newest first, each with its race</caption>
      <thead><tr><th scope="col">When</th><th scope="col">Model</th><th scope="col">The race ${smallAxis(end)}</th>
        <th scope="col">Answered by</th><th scope="col" class="number">First piece</th><th scope="col" class="number">All</th></tr></thead>
      <tbody>
        ${repeat(state.underWay, rowOf, runningRow)}
        ${repeat(shown, (race) => race.number, (race) => rowView(race, end))}
      </tbody>
    </table>
    ${found.length > rows ? html`<p><button @click=${more}>Show ${count(Math.min(ROWS, found.length - rows))} more</button></p>` : nothing}
  `;
}

function more() {
  rows += ROWS;
  changed();
}

const runningRow = (request) => html`
  <tr class="under-way">
    <td data-label="When"><span>${time(request.came_at_unix_s)}</span></td>
    <td data-label="Model"><span>${plain(request.model)}</span></td>
    <td data-label="The race" class="picture">${runningView()}</td>
    <td data-label="Answered by"><span class="tag">under way</span></td>
    <td class="number"></td><td class="number"></td>
  </tr>
`;

const rowView = (race, end) => html`
  <tr data-request=${race.request_id}>
    <td data-label="When"><a class="nowrap" href="#/races/${encodeURIComponent(race.request_id)}">${time(race.came_at_unix_s)}<span
      class="unseen">, request ${race.request_id}</span></a></td>
    <td data-label="Model"><span>${plain(race.model)}</span></td>
    <td data-label="The race" class="picture">${race.attempts.length ? smallLanes(race, end) : html`<span class="soft">nobody was asked</span>`}</td>
    <td data-label="Answered by"><span>${race.served_by ? servedBy(race) : nothing}
      ${race.error ? html`<span class="tag ${endingKind(race)}">${ending(race)}</span>` : nothing}</span></td>
    <td data-label="First piece" class="number"><span>${ms(race.first_piece_ms)}</span></td>
    <td data-label="All" class="number"><span>${ms(race.total_ms)}</span></td>
  </tr>
`;

function oneView() {
  const lead = html`<a href="#/races">All races</a> · request <code>${plain(one.id)}</code> ${copyButton(one.id, "the request's id")}`;
  return html`
    ${headView("One race", lead)}
    ${one.race ? raceView(one.race) : html`<p class="card">${one.error || "Asking the node …"}</p>`}
  `;
}

const raceView = (race) => html`
  <div class="stack">
    <section class="card" aria-labelledby="lanes-title">
      <div class="head"><h2 id="lanes-title">${plain(race.model)}, ${time(race.came_at_unix_s)}</h2>
        <span class="tag ${endingKind(race)}">${ending(race)}</span></div>
      ${race.attempts.length ? one.replay.view() : html`<p class="note">${sentence(race)}</p>`}
      ${legendView()}
    </section>
    <div class="columns">
      <section class="card">
        <h2>In words</h2>
        ${attemptsTable(race)}
      </section>
      <section class="card">
        <h2>The request</h2>
        <dl class="facts">${factsOf(race)}</dl>
      </section>
    </div>
  </div>
`;

const attemptsTable = (race) => html`
  <p>${sentence(race)}</p>
  <table class="wide">
    <thead><tr><th scope="col">Asked</th><th scope="col" class="number">At</th><th scope="col" class="number">Ended</th><th scope="col">How</th></tr></thead>
    <tbody>${rowsOf(race).map(
      (row) => html`<tr><th scope="row" data-label="Asked"><span>${row.name} <span class="small soft mono">${row.where === "own" ? "own LLM server" : row.id.slice(0, 16)}</span></span></th>
        <td class="number" data-label="At"><span>${ms(row.from)}</span></td><td class="number" data-label="Ended"><span>${ms(row.to)}</span></td>
        <td data-label="How"><span>${row.kind === "failed" ? html`failed: <code>${row.result}</code>` : row.result}</span></td></tr>`,
    )}</tbody>
  </table>
`;

const factsOf = (race) => [
  fact("Endpoint", `${race.endpoint}${race.stream ? ", streamed" : ""}`),
  fact("Asked by", race.peer ? html`peer ${race.peer.slice(0, 10)}` : html`key ${plain(race.key)}`),
  fact("Answered by", servedBy(race)),
  fact("Rule", race.race ? `${spaced(race.race)}, ${count(race.hedges)} hedges` : "no peer was asked"),
  fact("Status", race.error ? html`${race.status}, <code>${race.error}</code>` : race.status),
  fact("Waited", ms(race.queued_ms)),
  fact("First piece", ms(race.first_piece_ms)),
  fact("Deadline", race.deadline_ms === null ? "–" : `${ms(race.deadline_ms)} of silence`),
  fact("All of it", `${ms(race.total_ms)}, ${count(race.pieces)} pieces`),
  fact("Tokens", `${count(race.input_tokens)} in, ${count(race.output_tokens)} out`),
  fact("Bytes", `${count(race.body_bytes)} in, ${count(race.answer_bytes)} out`),
];
