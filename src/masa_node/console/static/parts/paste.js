/** Text to be copied, with the button that does it; and quoting, as names of models are strangers' text. */

import { html } from "../vendor/lit-html/lit-html.js";
import { changed } from "../store.js";

const SHOWN_MS = 1500;
let copied = "";

/** A block of text; `label` says what it is. */
export const pasteView = (text, label) => html`
  <div class="paste" role="group" aria-label=${label}>
    <pre>${text}</pre>
    <button class="quiet" type="button" @click=${() => copy(text)}>
      ${copied === text ? "Copied" : "Copy"}<span class="unseen"> ${label}</span></button>
  </div>
`;

/** A small button that copies. */
export const copyButton = (text, label) => html`
  <button class="quiet" type="button" @click=${() => copy(text)}>
    ${copied === text ? "Copied" : "Copy"}<span class="unseen"> ${label}</span></button>
`;

async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyWithoutTls(text);
  copied = text;
  changed();
  setTimeout(() => {
    copied = "";
    changed();
  }, SHOWN_MS);
}

/** Where the page came over plain HTTP from another machine, browsers have no clipboard but this. */
function copyWithoutTls(text) {
  const at = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  at?.focus();
}

/** One word of a shell, whatever is in it. */
export const shell = (text) => (/^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** A string of Python, JavaScript, TOML and YAML: JSON's escapes are theirs. */
export const quoted = (text) => JSON.stringify(text);
