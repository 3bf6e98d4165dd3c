/** This node and its peers as a ring: who is linked, and by which route. The table beside it says the same. */

import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";
import { counted, plain, shortId } from "../words.js";

const SHOWN = 16; // more would overlap
const TIMED = 12; // with more, a second line of words would
const NAME_CHARS = 12;
const WIDTH = 480;
const HEIGHT = 370;
const MIDDLE = { x: WIDTH / 2, y: HEIGHT / 2 };
const ORBIT = 120;
const WORDS = 142; // they begin outside of the circles
const LINE = 18;
const BASE = 4; // below the middle of a line is its base
const STEEP = 0.1; // of a peer above or below the node, whose words stand around its middle

/** `peers` are the rows of `/api/v1/peers`, the linked ones first. */
export function ringView(ownName, peers) {
  const shown = peers.slice(0, SHOWN);
  const linked = peers.filter((peer) => peer.connected).length;
  const more = peers.length > SHOWN ? ` The first ${SHOWN} are drawn.` : "";
  return html`
    <svg class="ring" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${counted(linked, "peer")} of ${peers.length} linked.${more}">
      <circle class="orbit" cx=${MIDDLE.x} cy=${MIDDLE.y} r=${ORBIT}/>
      ${shown.map((peer, index) => linkOf(peer, place(index, shown.length, ORBIT)))}
      <circle class="hub" cx=${MIDDLE.x} cy=${MIDDLE.y} r="42"/>
      <text class="hubname" x=${MIDDLE.x} y=${MIDDLE.y + 5}>${short(ownName || "this node", 10)}</text>
      ${shown.map((peer, index) => peerOf(peer, index, shown.length))}
    </svg>
  `;
}

function place(index, all, radius) {
  const angle = (Math.PI * (2 * index + 1)) / all - Math.PI / 2;
  return { x: MIDDLE.x + radius * Math.cos(angle), y: MIDDLE.y + radius * Math.sin(angle) };
}

function linkOf(peer, { x, y }) {
  const kind = peer.connected ? (peer.route === "relay" ? "relayed" : "") : "none";
  return svg`<line class="link ${kind}" x1=${MIDDLE.x} y1=${MIDDLE.y} x2=${x.toFixed(1)} y2=${y.toFixed(1)}/>`;
}

function peerOf(peer, index, all) {
  const { x, y } = place(index, all, ORBIT);
  const words = place(index, all, WORDS);
  const lines = [short(peer.name || shortId(peer.id), NAME_CHARS)];
  if (all <= TIMED && peer.rtt_ms !== null) lines.push(`${peer.rtt_ms} ms`);
  const height = (words.y - MIDDLE.y) / WORDS; // -1 is above the node, and words grow away from it
  const first = words.y + BASE + BASE * 2 * height - (LINE * (lines.length - 1) * (1 - height)) / 2;
  return svg`
    <circle class="peer ${peer.connected ? "linked" : ""}" cx=${x.toFixed(1)} cy=${y.toFixed(1)} r="15"/>
    ${lines.map((line, number) => svg`<text class=${sideOf(words)} x=${words.x.toFixed(1)} y=${(first + LINE * number).toFixed(1)}>${line}</text>`)}
  `;
}

/** Words at the sides begin at their peer, and lead away from the node. */
function sideOf({ x }) {
  const side = (x - MIDDLE.x) / WORDS;
  if (Math.abs(side) < STEEP) return nothing;
  return side > 0 ? "right" : "left";
}

function short(text, chars) {
  const signs = [...plain(text)];
  return signs.length > chars ? `${signs.slice(0, chars - 1).join("")}…` : signs.join("");
}
