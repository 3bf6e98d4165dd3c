/** Replays one race, slower than it was or as fast. Where the reader wants no motion, moment by moment. */

import { html } from "../vendor/lit-html/lit-html.js";
import { changed } from "../store.js";
import { ms, plain } from "../words.js";
import { axisEnd, momentsOf, rowsOf, winnerAt } from "./race.js";
import { lanesView } from "./timeline.js";

const RATES = [0.1, 0.25, 0.5, 1];
const STEPS = 1000; // of the scrubber
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** The state of one replay. It stands at the end until somebody plays it. */
export class Replay {
  #race;
  #frame = 0;
  #last = 0;
  now = Infinity;
  rate = RATES[0];
  whole = false;
  isPlaying = false;

  constructor(race) {
    this.#race = race;
  }

  get end() {
    return axisEnd(this.#race, this.whole);
  }

  get #at() {
    return Math.min(this.now, this.end);
  }

  seek(now) {
    this.now = now >= this.end ? Infinity : now;
    changed();
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.isPlaying = false;
    changed();
  }

  toggle() {
    if (this.isPlaying) return this.stop();
    if (this.#at >= this.end) this.now = 0;
    if (calm.matches) return this.#step();
    this.isPlaying = true;
    this.#last = performance.now();
    this.#frame = requestAnimationFrame((stamp) => this.#play(stamp));
    return changed();
  }

  #play(stamp) {
    this.seek(this.#at + Math.max(0, stamp - this.#last) * this.rate);
    this.#last = stamp;
    if (this.now === Infinity) return this.stop();
    this.#frame = requestAnimationFrame((next) => this.#play(next));
    return undefined;
  }

  #step() {
    this.seek(momentsOf(this.#race, this.end).find((moment) => moment > this.now) ?? Infinity);
  }

  view() {
    const at = this.#at;
    return html`
      ${lanesView(this.#race, { end: this.end, now: this.now })}
      <div class="replay">
        <button type="button" class="main" @click=${() => this.toggle()}>${this.#verb()}</button>
        <input type="range" min="0" max=${STEPS} aria-label="Moment of the race" aria-valuetext=${ms(at)}
          .value=${String(Math.round((STEPS * at) / this.end))}
          @input=${(event) => this.#scrubbed(event.target.valueAsNumber)}>
        <span class="clock">${ms(at)}</span>
        <label><span class="unseen">Speed</span>
          <select @change=${(event) => this.#paced(Number(event.target.value))}>
            ${RATES.map((rate) => html`<option value=${rate} ?selected=${rate === this.rate}>${rate}×</option>`)}
          </select></label>
      </div>
      <p class="note replayed" aria-live="polite" data-winner=${this.#winner()?.id ?? ""}>${this.#words()}</p>
      <label class="check"><input type="checkbox" .checked=${this.whole} @change=${() => this.#widened()}>
        To the end of the answer</label>
    `;
  }

  #verb() {
    if (this.isPlaying) return "Pause";
    return calm.matches ? "Next moment" : "Play";
  }

  #scrubbed(step) {
    cancelAnimationFrame(this.#frame);
    this.isPlaying = false;
    this.seek((this.end * step) / STEPS);
  }

  #paced(rate) {
    this.rate = rate;
    changed();
  }

  #widened() {
    this.whole = !this.whole;
    this.now = Infinity;
    this.stop();
  }

  #winner() {
    return winnerAt(rowsOf(this.#race), this.#at);
  }

  #words() {
    const winner = this.#winner();
    if (winner) return `Won by ${plain(winner.name)}, whose first piece was there after ${ms(winner.to)}.`;
    return this.#at >= this.end ? "Nobody won." : "Nobody has won yet.";
  }
}
