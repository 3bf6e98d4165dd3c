/** Bars: requests by minute, and by day. Drawn by hand, as a bar is a rectangle. */

import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";
import { count, counted } from "../words.js";

const MINUTES = 60;
const TOP = 8; // percent of the height that stay free

/** Requests in each of the last sixty minutes; failed ones at the foot. */
export function minutesView(races, sinceUnixS) {
  const minutes = Array.from({ length: MINUTES }, () => ({ all: 0, failed: 0 }));
  for (const race of races) {
    const minute = minutes[Math.min(MINUTES - 1, Math.floor((race.came_at_unix_s - sinceUnixS) / 60))];
    minute.all += 1;
    minute.failed += race.error && race.error !== "caller_gone" ? 1 : 0;
  }
  const most = Math.max(...minutes.map((minute) => minute.all));
  const label = `Requests by minute, in the last hour: ${counted(races.length, "request")}, at most ${count(most)} in one minute.`;
  return barsView(minutes, label, ["an hour ago", most ? `at most ${count(most)} a minute` : "no request in this hour", "now"]);
}

/** Requests by day; `lines` are those of the usage report, newest first. */
export function daysView(lines) {
  const days = [...lines].reverse().map((line) => ({ all: line.requests, failed: line.errors, words: line.day }));
  const most = Math.max(...days.map((day) => day.all));
  const label = `Requests by day: at most ${count(most)} on one day.`;
  return barsView(days, label, [days[0].words, `at most ${count(most)} a day`, days.at(-1).words]);
}

function barsView(bars, label, [left, middle, right]) {
  const most = Math.max(1, ...bars.map((bar) => bar.all));
  const height = (number) => ((100 - TOP) * number) / most;
  const step = 100 / bars.length;
  return html`
    <div class="chart" role="img" aria-label=${label}>
      <svg aria-hidden="true">
        ${bars.map((bar, index) => svg`
          ${column(index * step, step, height(bar.all), "")}
          ${bar.failed ? column(index * step, step, height(bar.failed), "failed") : nothing}`)}
        <line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>
      </svg>
      <p class="below" aria-hidden="true"><span>${left}</span><span>${middle}</span><span>${right}</span></p>
    </div>
  `;
}

const column = (x, step, height, kind) =>
  svg`<rect class="bar ${kind}" x="${(x + step * 0.12).toFixed(3)}%" width="${(step * 0.76).toFixed(3)}%" y="${(100 - height).toFixed(2)}%" height="${height.toFixed(2)}%"/>`;

/** A share of the whole as a thin bar, beside the number that says it. */
export const shareView = (part, whole) => html`
  <svg class="share" aria-hidden="true"><rect class="all" width="100%" height="100%" rx="3"/><rect class="part"
    width="${((100 * part) / Math.max(1, whole)).toFixed(2)}%" height="100%" rx="3"/></svg>
`;
