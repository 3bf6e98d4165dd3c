/** Invites: a new one with its link and QR code, those that are open, and joining by somebody else's link. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { load, read } from "../api.js";
import { changed } from "../store.js";
import { count, plain, time } from "../words.js";
import { confirmed } from "./confirm.js";
import { pasteView } from "./paste.js";
import { qrView } from "./qr.js";
import { empty, shown } from "./show.js";
import { state } from "../store.js";

const LASTS = [[3600, "an hour"], [86_400, "a day"], [604_800, "a week"]];

let made = null;
let said = { kind: "", words: "" };
let isBusy = false;

/** Do it, and tell what the node says; false if it refused. */
async function act(doing) {
  isBusy = true;
  said = { kind: "", words: "" };
  changed();
  try {
    said = { kind: "good", words: (await doing()) ?? "" };
  } catch (error) {
    said = { kind: "bad", words: error.message };
  }
  isBusy = false;
  changed();
}

export const invitesView = (mayChange) => html`
  <div class="halves">
    <section class="card">
      <h2>Invite a peer</h2>
      <form class="fields" @submit=${invite}>
        <label>For whom, a note <input name="note" maxlength="100" autocomplete="off"></label>
        <label>For how many nodes <input name="uses" type="number" min="1" max="100" value="1"></label>
        <label>For how long <select name="lasts">${LASTS.map(([seconds, words]) => html`<option value=${seconds} ?selected=${words === "a day"}>${words}</option>`)}</select></label>
        <button class="main" ?disabled=${!mayChange || isBusy}>Make an invite</button>
      </form>
      ${made ? madeView(made) : nothing}
      <h3 class="spaced">Open invites</h3>
      ${shown(state.invites, ({ invites }) => (invites.length ? listView(invites, mayChange) : empty("None is open", "An invite lets a friend's node join yours.")))}
    </section>
    <section class="card">
      <h2>Join by a link</h2>
      <form class="fields" @submit=${join}>
        <label>The link that you were given <input name="link" required autocomplete="off" spellcheck="false" placeholder="masa1-…"></label>
        <button class="main" ?disabled=${!mayChange || isBusy}>Join</button>
      </form>
      <div class="spaced" aria-live="polite">${said.words ? html`<p class="note ${said.kind}">${plain(said.words)}</p>` : nothing}</div>
    </section>
  </div>
`;

function invite(event) {
  event.preventDefault();
  const { note, uses, lasts } = event.target.elements;
  const body = { note: note.value, uses: uses.valueAsNumber, lasts_s: Number(lasts.value) };
  return act(async () => {
    made = await read("/api/v1/invites", { method: "POST", body });
    await load("invites");
  });
}

function join(event) {
  event.preventDefault();
  const { link } = event.target.elements;
  return act(async () => {
    const { words } = await read("/api/v1/join", { method: "POST", body: { link: link.value.trim() } });
    link.value = "";
    await load("peers");
    return words;
  });
}

const madeView = (each) => html`
  <div class="spaced" aria-live="polite">
    <p class="note good">The link is shown once: send it to whom you invite. It ends ${time(each.expires_at_unix_s)}.</p>
    <div class="halves">
      ${pasteView(each.link, "the invite")}
      ${each.qr?.length ? qrView(each.qr, "The invite as a QR code") : nothing}
    </div>
    ${each.ways?.length ? html`<ul class="small soft">${each.ways.map((way) => html`<li>${plain(way)}</li>`)}</ul>` : nothing}
  </div>
`;

const listView = (invites, mayChange) => html`
  <table class="wide">
    <caption class="unseen">Open invites</caption>
    <thead><tr><th scope="col">Invite</th><th scope="col">For</th><th scope="col" class="number">Uses left</th><th scope="col">Ends</th><th scope="col"><span class="unseen">Revoke</span></th></tr></thead>
    <tbody>${invites.map(
      (each) => html`<tr><th scope="row" data-label="Invite"><code>${each.id}</code></th><td data-label="For"><span>${plain(each.note) || "–"}</span></td>
        <td class="number" data-label="Uses left"><span>${count(each.uses_left)}</span></td><td data-label="Ends"><span>${time(each.expires_at_unix_s)}</span></td>
        <td data-label=""><button class="quiet" ?disabled=${!mayChange || isBusy} @click=${() => revoke(each)}>Revoke<span class="unseen"> ${each.id}</span></button></td></tr>`,
    )}</tbody>
  </table>
`;

async function revoke({ id }) {
  if (!(await confirmed(`Revoke the invite ${id}?`, "Whoever has its link can no longer join by it.", "Revoke"))) return;
  await act(async () => {
    await read(`/api/v1/invites/${encodeURIComponent(id)}`, { method: "DELETE" });
    if (made?.id === id) made = null;
    await load("invites");
  });
}
