/** Draws a QR code from the node's rows of 0 and 1: black on white in every scheme, with the margin that cameras need. */

import { html } from "../vendor/lit-html/lit-html.js";

const QUIET = 4; // modules, as ISO/IEC 18004 has it

export function qrView(rows, label) {
  const size = rows.length + 2 * QUIET;
  const path = rows.flatMap((row, y) => [...row].map((module, x) => (module === "1" ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : "")));
  return html`<svg class="qr" viewBox="0 0 ${size} ${size}" role="img" aria-label=${label} shape-rendering="crispEdges"><path d=${path.join("")}/></svg>`;
}
