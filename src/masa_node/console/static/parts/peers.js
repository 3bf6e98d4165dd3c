/** The table of peers, with what may be done to each: trust, block, forget. Their names are strangers' text. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { load, read } from "../api.js";
import { changed } from "../store.js";
import { ago, count, plain, shortId, spaced } from "../words.js";
import { confirmed } from "./confirm.js";

const MODELS_SHOWN = 3;
const WARNINGS = {
  block: ["Block", "It is cut off, and not let in again until you unblock it."],
  forget: ["Forget", "Its address and membership are gone. It needs a new invite to come back."],
};

let said = { kind: "", words: "" };
let busy = "";

export const peersView = (peers, mayChange) => html`
  <table class="wide peers">
    <caption class="unseen">Peers that this node knows, linked ones first</caption>
    <thead><tr><th scope="col">Peer</th><th scope="col">Membership</th><th scope="col">Link</th><th scope="col" class="number">RTT</th>
      <th scope="col">Models</th><th scope="col" class="number">Load</th><th scope="col">Stake</th><th scope="col">Last failure</th><th scope="col">Change</th></tr></thead>
    <tbody>${repeat(peers, (peer) => peer.id, (peer) => peerView(peer, mayChange))}</tbody>
  </table>
  <div aria-live="polite">${said.words ? html`<p class="note ${said.kind}">${plain(said.words)}</p>` : nothing}</div>
`;

const peerView = (peer, mayChange) => html`
  <tr data-peer=${peer.id}>
    <th scope="row" data-label="Peer"><span>${plain(peer.name) || "no name"} <span class="small soft mono nowrap" title=${peer.id}>${shortId(peer.id)}</span></span></th>
    <td data-label="Membership"><span>${spaced(peer.membership)}${peer.trusted ? html` <span class="tag good">trusted</span>` : nothing}</span></td>
    <td data-label="Link"><span>${linkOf(peer)} <span class="small soft">${peer.address}</span></span></td>
    <td data-label="RTT" class="number"><span>${peer.rtt_ms === null ? "–" : `${peer.rtt_ms} ms`}</span></td>
    <td data-label="Models"><span>${modelsOf(peer.models)}</span></td>
    <td data-label="Load" class="number"><span>${peer.slots ? `${count(peer.running)} of ${count(peer.slots)}` : "–"}</span></td>
    <td data-label="Stake"><span>${peer.stake ? html`${peer.stake.verdict} <span class="small soft">${plain(peer.stake.reason)}</span>` : html`<span class="nowrap">not checked</span>`}</span></td>
    <td data-label="Last failure"><span>${peer.error ? plain(peer.error) : "–"}${peer.failures ? html` <span class="small soft">${count(peer.failures)} in a row</span>` : nothing}</span></td>
    <td data-label="Change"><span class="buttons">${verbsOf(peer).map(([verb, words]) => verbButton(peer, verb, words, mayChange))}</span></td>
  </tr>
`;

const linkOf = (peer) =>
  peer.connected
    ? html`<span class="tag good">${peer.route ?? "linked"}</span>`
    : html`<span class="tag">not linked</span>${peer.last_seen_at_unix_s ? html` <span class="small soft nowrap">seen ${ago(peer.last_seen_at_unix_s)}</span>` : nothing}`;

function modelsOf(models) {
  if (!models.length) return "–";
  const more = models.length > MODELS_SHOWN ? ` and ${count(models.length - MODELS_SHOWN)} more` : "";
  return models.slice(0, MODELS_SHOWN).map(plain).join(", ") + more;
}

function verbsOf(peer) {
  const trust = peer.trusted ? ["untrust", "Untrust"] : ["trust", "Trust"];
  const block = peer.membership === "blocked" ? ["unblock", "Unblock"] : ["block", "Block"];
  return [trust, block, ["forget", "Forget"]];
}

const verbButton = (peer, verb, words, mayChange) => html`
  <button class="quiet" ?disabled=${!mayChange || busy === peer.id} @click=${() => change(peer, verb)}>${words}<span
    class="unseen"> ${plain(peer.name) || shortId(peer.id)}</span></button>
`;

async function change(peer, verb) {
  const warning = WARNINGS[verb];
  const name = plain(peer.name) || shortId(peer.id);
  if (warning && !(await confirmed(`${warning[0]} ${name}?`, warning[1], warning[0]))) return;
  busy = peer.id;
  changed();
  try {
    said = { kind: "good", words: (await read(`/api/v1/peers/${peer.id}/${verb}`, { method: "POST" })).words };
  } catch (error) {
    said = { kind: "bad", words: error.message };
  }
  busy = "";
  await load("peers");
}
