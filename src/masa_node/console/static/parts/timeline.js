/** Draws races: lanes on a time axis. Places are percents of the width, so that nothing is stretched. */

import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";
import { ms } from "../words.js";
import { axisEnd, rowsOf, sentence, standing, ticksOf } from "./race.js";

const SMALL_LANE = 9; // pixels
const EDGE = 0.94; // of the width
const MAX_SMALL_LANES = 8; // of one row of a table; the page of the race has all

const at = (value, end) => `${Math.min(100, Math.max(0, (100 * value) / end)).toFixed(3)}%`;
const wide = (from, to, end) => at(Math.max(0, Math.min(to, end) - Math.min(from, end)), end);

/** The words of a tick end at the picture's edge, not beyond it. */
function anchorOf(tick, end) {
  if (!tick) return "start";
  return tick > end * EDGE ? "end" : "middle";
}

/** One race, large, as it stood at `now` (milliseconds). */
export function lanesView(race, { end = axisEnd(race, false), now = Infinity } = {}) {
  const ticks = ticksOf(end);
  const deadline = race.deadline_ms ?? null;
  return html`
    <div class="lanes">
      <div class="lane axis" aria-hidden="true"><span class="who"></span>
        <svg>${ticks.map((tick) => svg`<text x=${at(tick, end)} y="16" text-anchor=${anchorOf(tick, end)}>${tickWords(tick)}</text>`)}</svg>
        <span class="how">${deadline === null ? nothing : `deadline ${ms(deadline)}${deadline > end ? " →" : ""}`}</span></div>
      ${rowsOf(race).map((row) => laneView(race, row, { ticks, end, now, deadline }))}
    </div>
  `;
}

const tickWords = (tick) => (tick ? ms(tick) : "asked");

const laneView = (race, row, scale) => html`
  <div class="lane">
    <span class="who" title=${row.name}>${row.name} <span class="tag">${row.where}</span></span>
    <svg aria-hidden="true">
      ${scale.ticks.map((tick) => svg`<line class="tick" x1=${at(tick, scale.end)} x2=${at(tick, scale.end)} y1="0" y2="100%"/>`)}
      ${race.queued_ms > scale.end / 100 ? svg`<rect class="bar waited" x="0" width=${wide(0, race.queued_ms, scale.end)} y="32%" height="36%"/>` : nothing}
      ${deadlineAt(scale.deadline, scale.end)}
      ${barsOf(row, scale)}
    </svg>
    <span class="how">${standing(row, scale.now)}</span>
  </div>
`;

/** Where silence ends a request; nothing where that is beyond the picture. */
const deadlineAt = (deadline, end) =>
  deadline === null || deadline > end ? nothing : svg`<line class="deadline" x1=${at(deadline, end)} x2=${at(deadline, end)} y1="0" y2="100%"/>`;

function barsOf(row, { end, now }) {
  if (now < row.from) return nothing;
  const isOver = now >= row.to;
  const to = Math.min(row.to, now);
  const x = at(row.to, end);
  return svg`
    ${isOver && row.until > row.to ? svg`<rect class="bar answer" x=${x} width=${wide(row.to, Math.min(row.until, now), end)} y="26%" height="48%"/>` : nothing}
    <rect class="bar ${isOver ? row.kind : "running"}" x=${at(row.from, end)} width=${wide(row.from, to, end)} y="26%" height="48%" rx="3"/>
    ${isOver ? endOf(row, x) : nothing}
    ${now < end ? svg`<line class="now" x1=${at(now, end)} x2=${at(now, end)} y1="0" y2="100%"/>` : nothing}
  `;
}

/** The sign at the end of a bar: a first piece, a cross, or a bar across; and the deadline of one that fell silent. */
function endOf(row, x) {
  if (row.kind === "won") return svg`<circle class="piece" cx=${x} cy="50%" r="6"/>`;
  const sign = row.kind === "cancelled" ? "M-10 -4L-4 4M-4 -4L-10 4" : "M-7 -5V5";
  return svg`
    ${row.isStalled ? svg`<line class="deadline" x1=${x} x2=${x} y1="4%" y2="96%"/>` : nothing}
    <svg x=${x} y="50%" overflow="visible"><path class="cap" d=${sign}/></svg>
  `;
}

/** One race in a row of a table, on the axis of the whole table. */
export function smallLanes(race, end) {
  const rows = rowsOf(race).slice(0, MAX_SMALL_LANES);
  const height = Math.max(2, rows.length) * SMALL_LANE + 2;
  return html`
    <svg role="img" aria-label=${sentence(race)} height=${height}>
      ${ticksOf(end).map((tick) => svg`<line class="tick" x1=${at(tick, end)} x2=${at(tick, end)} y1="0" y2="100%"/>`)}
      ${deadlineAt(race.deadline_ms ?? null, end)}
      ${rows.map((row, index) => smallLane(row, index * SMALL_LANE + 2, end))}
    </svg>
  `;
}

const smallLane = (row, y, end) => svg`
  ${row.until > row.to ? svg`<rect class="bar answer" x=${at(row.to, end)} width=${wide(row.to, row.until, end)} y=${y} height="6"/>` : nothing}
  <rect class="bar ${row.kind}" x=${at(row.from, end)} width=${wide(row.from, row.to, end)} y=${y} height="6" rx="2"/>
`;

/** The axis above such rows. */
export const smallAxis = (end) => html`
  <svg aria-hidden="true" height="16">
    ${ticksOf(end).map((tick) => svg`<text x=${at(tick, end)} y="12" text-anchor=${anchorOf(tick, end)}>${tick ? ms(tick) : "0"}</text>`)}
  </svg>
`;

const mark = (words, drawing) => html`<li><svg aria-hidden="true">${drawing}</svg>${words}</li>`;
const bar = (kind) => svg`<rect class="bar ${kind}" y="3" width="24" height="8" rx="2"/>`;

/** What the signs mean. */
export const legendView = () => html`
  <ul class="legend">
    ${mark("won", bar("won"))}
    ${mark("first piece", svg`<circle class="piece" cx="12" cy="7" r="5"/>`)}
    ${mark("the rest of the answer", bar("answer"))}
    ${mark("cancelled", svg`${bar("cancelled")}<path class="cap" d="M15 4L20 10M20 4L15 10"/>`)}
    ${mark("failed", svg`${bar("failed")}<path class="cap" d="M19 3V11"/>`)}
    ${mark("the deadline", svg`<line class="deadline" x1="12" x2="12" y1="0" y2="14"/>`)}
    ${mark("waited for a place", svg`<rect class="bar waited" y="3" width="24" height="8"/>`)}
  </ul>
`;
