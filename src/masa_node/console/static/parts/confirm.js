/** The one dialog: asks before something is done that cannot be undone. */

import { html } from "../vendor/lit-html/lit-html.js";
import { changed } from "../store.js";

let question = { title: "", words: "", verb: "" };
let settle = () => {};

/** Did the reader say yes? */
export async function confirmed(title, words, verb) {
  question = { title, words, verb };
  changed();
  await new Promise(requestAnimationFrame); // it is drawn before it is shown
  const dialog = document.getElementById("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    settle = resolve;
  });
}

export const dialogView = () => html`
  <dialog id="confirm" aria-labelledby="confirm-title" @close=${(event) => settle(event.target.returnValue === "yes")}>
    <h2 id="confirm-title">${question.title}</h2>
    <p>${question.words}</p>
    <form method="dialog" class="buttons">
      <button class="main" value="yes">${question.verb}</button>
      <button value="no">Leave it</button>
    </form>
  </dialog>
`;
