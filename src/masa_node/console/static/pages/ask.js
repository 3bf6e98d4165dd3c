/** Ask: one prompt to one model, or to two side by side; beside each answer its race. Kept nowhere. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { load } from "../api.js";
import { Question } from "../parts/answer.js";
import { pasteView } from "../parts/paste.js";
import { curl, python } from "../parts/recipes.js";
import { choiceView, empty, fact, headView } from "../parts/show.js";
import { lanesView } from "../parts/timeline.js";
import { sentence } from "../parts/race.js";
import { changed, state } from "../store.js";
import { count, ms, nameOf, plain } from "../words.js";

export const title = "Ask";
const PRIVACY = [["", "as the node is set"], ["local", "local: this node's own LLMs"], ["trusted", "trusted: own, and trusted peers"], ["any", "any: every peer"]];
const RACES = [["", "as the node is set"], ["all", "all: every peer at once"], ["hedge", "hedge: one after another"], ["all;width=2", "all, two at most"]];
const SAME = [["curl", "curl"], ["python", "Python"]];

const wish = { prompt: "", models: ["", ""], isPair: false, privacy: "", race: "" };
let questions = [];
let same = "curl";

export const open = () => load("models");

const models = () => state.models?.value?.models ?? [];
const chosenModels = () => {
  const first = wish.models[0] || (models()[0]?.id ?? "");
  const second = wish.models[1] || (models()[1]?.id ?? first);
  return wish.isPair ? [first, second] : [first];
};

const headers = () => ({
  ...(wish.privacy ? { "X-Masa-Privacy": wish.privacy } : {}),
  ...(wish.race ? { "X-Masa-Race": wish.race } : {}),
});

export const view = () => html`
  ${headView("Ask", "Try a model, and see the race for your request. Nothing is kept: a reload forgets it all.")}
  <div class="stack">
    <section class="card">${models().length ? formView() : noModel()}</section>
    <div class=${questions.length > 1 ? "halves" : "stack"}>${questions.map(questionView)}</div>
    ${models().length ? sameView() : nothing}
  </div>
`;

const noModel = () =>
  state.models?.value
    ? empty("No model can be asked now", html`<a href="#/">Home</a> says what is missing; <a href="#/network">Network</a> is where peers join.`)
    : empty("Asking the node …", nothing);

const formView = () => html`
  <form @submit=${submitted}>
    <label>Your question
      <textarea name="prompt" required .value=${wish.prompt} @input=${(event) => wished("prompt", event.target.value)}
        @keydown=${hurried}></textarea></label>
    <div class="fields spaced">
      ${modelView(0, wish.isPair ? "First model" : "Model")}
      ${wish.isPair ? modelView(1, "Second model") : nothing}
      ${selectView("Privacy", "privacy", PRIVACY)}
      ${selectView("Race", "race", RACES)}
    </div>
    <div class="fields spaced">
      <button class="main" ?disabled=${isRunning()}>Ask</button>
      <button type="button" ?disabled=${!isRunning()} @click=${stop}>Stop</button>
      <label class="check"><input type="checkbox" .checked=${wish.isPair}
        @change=${(event) => wished("isPair", event.target.checked)}> Two models side by side</label>
    </div>
  </form>
`;

const modelView = (index, label) => html`
  <label>${label}
    <select @change=${(event) => choose(index, event.target.value)}>
      ${models().map((model) => html`<option value=${model.id} ?selected=${model.id === chosenModels()[index]}>${plain(model.id)}, ${whose(model)}</option>`)}
    </select></label>
`;

/** Who serves it: own LLM servers, peers, or both. */
function whose({ served_by: providers }) {
  const own = providers.filter((each) => each.local).length;
  const peers = providers.length - own;
  return [own ? "own" : "", peers ? `${count(peers)} ${peers === 1 ? "peer" : "peers"}` : ""].filter(Boolean).join(" and ");
}

const selectView = (label, field, choices) => html`
  <label>${label}
    <select @change=${(event) => wished(field, event.target.value)}>
      ${choices.map(([value, words]) => html`<option value=${value} ?selected=${wish[field] === value}>${words}</option>`)}
    </select></label>
`;

function wished(field, value) {
  wish[field] = value;
  changed();
}

function choose(index, model) {
  wish.models[index] = model;
  changed();
}

const isRunning = () => questions.some((question) => question.isRunning);

function hurried(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form.requestSubmit();
}

function submitted(event) {
  event.preventDefault();
  if (isRunning()) return;
  questions = chosenModels().map((model) => new Question(model, wish.prompt, headers()));
  changed();
}

function stop() {
  for (const question of questions) question.stop();
}

const questionView = (question) => {
  const { thinking, answer } = question.text;
  return html`
    <article class="card question">
      <div class="head"><h2>${plain(question.model)}</h2>${stateOf(question)}</div>
      <div class=${questions.length > 1 ? "stack" : "columns"}>
        <div>
          ${thinking ? html`<details><summary>Its thinking</summary><div class="thinking">${thinking}</div></details>` : nothing}
          <div class="answer" role="region" aria-label="Answer" aria-live="polite" aria-busy=${question.isRunning ? "true" : "false"}>${answer}</div>
          ${question.error ? html`<p class="note bad" role="alert">${question.error}</p>` : nothing}
        </div>
        <dl class="facts">${factsOf(question)}</dl>
      </div>
      ${question.race ? raceView(question.race) : nothing}
    </article>
  `;
};

function stateOf(question) {
  if (question.isRunning) return html`<span class="tag">${question.pieces ? "answering" : "asking"}</span>`;
  if (question.isStopped) return html`<span class="tag warn">stopped</span>`;
  return question.error ? html`<span class="tag bad">failed</span>` : html`<span class="tag good">answered</span>`;
}

const factsOf = (question) => [
  fact("Answered by", question.servedBy ? served(question.servedBy) : "–"),
  fact("First piece", ms(question.firstPieceMs)),
  fact("All of it", ms(question.totalMs)),
  fact("Pieces", pace(question)),
  fact("Tokens", tokens(question.usage)),
  question.translated ? fact("Translated", question.translated) : nothing,
  fact("Request", question.requestId ? html`<code>${question.requestId}</code>` : "–"),
];

const served = (id) => (id === "local" ? "an own LLM server" : nameOf(id));

function pace(question) {
  const rate = question.piecesPerS;
  return `${count(question.pieces)}${rate === null ? "" : `, ${count(Number(rate.toFixed(rate < 10 ? 1 : 0)))} a second`}`;
}

const tokens = (usage) => (usage ? `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out` : "not said");

const raceView = (race) => html`
  <section class="spaced" aria-label="The race">
    <div class="head"><h3>The race, as it ran</h3><a class="small" href="#/races/${encodeURIComponent(race.request_id)}">Replay it</a></div>
    ${race.attempts.length ? lanesView(race) : nothing}
    <p class="unseen">${sentence(race)}</p>
  </section>
`;

function sameView() {
  const [model] = chosenModels();
  const prompt = wish.prompt || "Hello";
  const needsKey = state.me?.key_needed ?? false;
  const body = { model, messages: [{ role: "user", content: prompt }], stream: true };
  const text = same === "curl" ? curl(location.origin, body, headers(), needsKey) : python(location.origin, model, prompt, headers(), needsKey);
  return html`
    <section class="card">
      <h2>The same from a program</h2>
      ${choiceView("Program", SAME, same, (name) => { same = name; changed(); })}
      ${pasteView(text, `the same as ${same}`)}
    </section>
  `;
}
