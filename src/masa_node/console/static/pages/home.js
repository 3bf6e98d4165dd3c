/** Home: how the node is, what is missing, how programs use it, and the last hour. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { isGuest, load, loadDoctor } from "../api.js";
import { minutesView } from "../parts/chart.js";
import { pasteView } from "../parts/paste.js";
import { recipes } from "../parts/recipes.js";
import { choiceView, figure, headView, shown } from "../parts/show.js";
import { changed, KEPT_RACES, state } from "../store.js";
import { count, counted, ms, percentile, plain } from "../words.js";

export const title = "Home";
const HOUR_S = 3600;
const READS_NOTHING = /show|count_tokens/; // endpoints, as the ledger has them
const WRITES_NOTHING = /show|count_tokens|embed|rerank|moderations/;
const WORST_FIRST = ["fail", "warn"];
const SIGNS = { fail: ["bad", "!", "Failed"], warn: ["warn", "?", "Warning"], ok: ["good", "✓", "Well"] };

let recipe = "Python, openai";
let isChecking = false;

export function open() {
  if (!state.doctor) loadDoctor(false);
  load("models");
}

export const view = () => html`
  ${headView(greeting(), sentence())}
  <div class="stack">
    <section class="card"><div class="head"><h2>The last hour</h2><a class="small" href="#/races">All races</a></div>${hourView()}</section>
    <div class=${isGuest() ? "stack" : "columns"}>
      <section class="card">
        <h2>Use it from a program</h2>
        ${programsView()}
      </section>
      ${isGuest() ? nothing : missingView()}
    </div>
  </div>
`;

const missingView = () => html`
  <section class="card" aria-busy=${isChecking ? "true" : "false"}>
    <div class="head"><h2>What is missing</h2>
      <button class="quiet" type="button" ?disabled=${isChecking} @click=${check}>${isChecking ? "Checking …" : "Check all"}</button></div>
    <div aria-live="polite">${shown(state.doctor, findingsView)}</div>
  </section>
`;

const greeting = () => (state.node?.value?.name ? plain(state.node.value.name) : "This node");

/** How it is, in one sentence. */
function sentence() {
  const ready = state.ready?.value;
  if (!ready) return state.ready?.error ?? "Asking the node …";
  if (!ready.ready) return ready.why ?? "No model can be asked.";
  const models = state.models?.value?.models.length ?? 0;
  if (isGuest()) return `Ready: ${counted(models, "model")} can be asked with your key.`;
  const own = ready.upstreams.length;
  const linked = (state.peers?.value?.peers ?? []).filter((peer) => peer.connected).length;
  const from = [own && counted(own, "own LLM server"), linked && counted(linked, "linked peer")].filter(Boolean);
  return `Ready: ${counted(models, "model")} can be asked, of ${from.join(" and ") || "nobody that is known"}.`;
}

async function check() {
  isChecking = true;
  changed();
  await loadDoctor(true);
  isChecking = false;
  changed();
}

function findingsView({ findings }) {
  const bad = WORST_FIRST.flatMap((level) => findings.filter((each) => each.level === level));
  const well = findings.length - bad.length;
  return html`
    <ul class="findings">
      ${bad.map(findingView)}
      ${bad.length ? nothing : findingView({ level: "ok", check: "doctor", says: "nothing is missing.", next: "" })}
    </ul>
    <p class="soft small">${bad.length ? `${counted(well, "other check")} found nothing wrong. ` : ""}<code>masa-node doctor</code> says the same.</p>
  `;
}

function findingView({ level, check: name, says, next }) {
  const [kind, sign, word] = SIGNS[level];
  return html`<li><span class="sign ${kind}" role="img" aria-label=${word}>${sign}</span>
    <div><strong>${plain(name)}</strong>: ${plain(says)}</div>
    ${next ? html`<div class="what soft small">Next: ${plain(next)}</div>` : nothing}</li>`;
}

function programsView() {
  const base = location.origin;
  const model = state.models?.value?.models[0]?.id ?? "your-model";
  const all = recipes(base, model, state.me?.key_needed ?? false);
  return html`
    <dl class="facts">
      <dt>OpenAI's</dt><dd><code>${base}/v1</code></dd>
      <dt>Anthropic's, Ollama's</dt><dd><code>${base}</code></dd>
      <dt>Any format</dt><dd><code>${base}/api/v1/chat</code></dd>
    </dl>
    <h3 class="unseen">Configuration</h3>
    <div class="spaced">${choiceView("Program", all.map(([name]) => [name, name]), recipe, chooseRecipe)}</div>
    ${pasteView(all.find(([name]) => name === recipe)[1], `configuration for ${recipe}`)}
    ${state.me?.key_needed ? html`<p class="soft small">${keyWords()}</p>` : nothing}
  `;
}

const keyWords = () =>
  isGuest()
    ? html`Put your key into <code>MASA_KEY</code>.`
    : html`Callers need a key: <code>masa-node keys add NAME</code> makes one. Put it into <code>MASA_KEY</code>.`;

function chooseRecipe(name) {
  recipe = name;
  changed();
}

function hourView() {
  const since = Date.now() / 1000 - HOUR_S;
  const races = state.races.filter((race) => race.came_at_unix_s >= since);
  const firsts = races.map((race) => race.first_piece_ms).filter((each) => each !== null);
  const failed = races.filter((race) => race.error && race.error !== "caller_gone").length;
  return html`
    <dl class="figures">
      ${figure("requests", count(races.length), failed ? `${count(failed)} failed` : "")}
      ${tokensView("tokens in", races, "input_tokens", READS_NOTHING)}
      ${tokensView("tokens out", races, "output_tokens", WRITES_NOTHING)}
      ${figure("first piece, half are below", ms(percentile(firsts, 0.5)))}
      ${figure("first piece, 95 % are below", ms(percentile(firsts, 0.95)))}
    </dl>
    ${minutesView(races, since)}
    ${races.length >= KEPT_RACES ? html`<p class="soft small">The node remembers no more than these (<code>JOURNAL</code>): the hour had more.</p>` : nothing}
  `;
}

/** What no LLM reported is unknown, not none; `without` are endpoints that have no such tokens. */
function tokensView(term, races, field, without) {
  const known = races.filter((race) => race[field] !== null);
  const unknown = races.filter((race) => race[field] === null && race.served_by && !without.test(race.endpoint)).length;
  const sum = known.reduce((all, race) => all + race[field], 0);
  if (unknown && !known.length) return figure(term, "unknown");
  return figure(term, count(sum), unknown ? `+${count(unknown)} unknown` : "");
}
