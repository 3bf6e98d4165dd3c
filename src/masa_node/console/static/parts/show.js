/** Small parts that several pages share: what is not there yet, what failed, tabs, figures. */

import { html } from "../vendor/lit-html/lit-html.js";

/** `found` is `{ value, error }` or null; `show` draws the value. */
export function shown(found, show) {
  if (found?.value) return show(found.value);
  if (found?.error) return html`<p class="note bad">${found.error}</p>`;
  return html`<p class="empty">Asking the node …</p>`;
}

/** Nothing is there: what it would be, and the next thing to do. */
export const empty = (title, next) => html`<div class="empty"><p><strong>${title}</strong>${next}</p></div>`;

/** Buttons of which one is pressed. `choices` are pairs of value and words. */
export const choiceView = (label, choices, chosen, choose) => html`
  <div class="tabs" role="group" aria-label=${label}>
    ${choices.map(
      ([value, words]) => html`<button type="button" aria-pressed=${chosen === value ? "true" : "false"}
        @click=${() => choose(value)}>${words}</button>`,
    )}
  </div>
`;

/** A term and its value. */
export const figure = (term, value, unit = "") => html`<div><dt>${term}</dt><dd>${value}${unit ? html` <small>${unit}</small>` : ""}</dd></div>`;

export const fact = (term, value) => html`<dt>${term}</dt><dd>${value}</dd>`;

/** A heading and the sentence below it. */
export const headView = (title, lead) => html`<h1 tabindex="-1">${title}</h1><p class="lead">${lead}</p>`;
