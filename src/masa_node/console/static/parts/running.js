/** A request under way, in a row of a table: something moves, unless the reader wants no motion. */

import { html } from "../vendor/lit-html/lit-html.js";

export const runningView = () => html`
  <svg role="img" aria-label="under way" height="20"><rect class="bar running pulse" x="0" width="100%" y="7" height="6" rx="2"/></svg>
`;
