/** What is shown to a reader whom the node does not know: one sentence, and a field for a key. */

import { html } from "../vendor/lit-html/lit-html.js";
import { state } from "../store.js";

/** `enter` is called with the key. */
export const gateView = (enter) => html`
  <main class="gate" id="main">
    <h1 tabindex="-1">A key, please</h1>
    <p role="alert">${state.gate}</p>
    <form class="fields" @submit=${(event) => submitted(event, enter)}>
      <label>Key <input name="key" type="password" required autocomplete="off" spellcheck="false"></label>
      <button class="main">Go on</button>
      <button type="button" @click=${() => enter("")}>Without a key</button>
    </form>
    <p class="soft small">The owner of the node gets in without one: <code>masa-node console</code> opens this page for 12 hours.
      The key stays in this tab.</p>
  </main>
`;

function submitted(event, enter) {
  event.preventDefault();
  const field = event.target.elements.key;
  enter(field.value.trim());
  field.value = "";
}
