/** This node and its peers as a ring: who is linked, and by which route. The table beside it says the same. */

import { html, svg } from "../vendor/lit-html/lit-html.js";
import { counted, plain, shortId } from "../words.js";

const SHOWN = 16; // more would overlap
const NAME_CHARS = 14;
const SIZE = 420;
const MIDDLE = SIZE / 2;
const ORBIT = 140;

/** `peers` are the rows of `/api/v1/peers`, the linked ones first. */
export function ringView(ownName, peers) {
  const shown = peers.slice(0, SHOWN);
  const linked = peers.filter((peer) => peer.connected).length;
  const more = peers.length > SHOWN ? ` The first ${SHOWN} are drawn.` : "";
  return html`
    <svg class="ring" viewBox="0 0 ${SIZE} ${SIZE}" role="img" aria-label="${counted(linked, "peer")} of ${peers.length} linked.${more}">
      <circle class="orbit" cx=${MIDDLE} cy=${MIDDLE} r=${ORBIT}/>
      ${shown.map((peer, index) => linkOf(peer, index, shown.length))}
      <circle class="hub" cx=${MIDDLE} cy=${MIDDLE} r="42"/>
      <text class="hubname" x=${MIDDLE} y=${MIDDLE + 5}>${short(ownName || "this node", 10)}</text>
      ${shown.map((peer, index) => peerOf(peer, index, shown.length))}
    </svg>
  `;
}

function place(index, all) {
  const angle = (Math.PI * (2 * index + 1)) / all - Math.PI / 2;
  return { x: MIDDLE + ORBIT * Math.cos(angle), y: MIDDLE + ORBIT * Math.sin(angle) };
}

function linkOf(peer, index, all) {
  const { x, y } = place(index, all);
  const kind = peer.connected ? (peer.route === "relay" ? "relayed" : "") : "none";
  return svg`<line class="link ${kind}" x1=${MIDDLE} y1=${MIDDLE} x2=${x.toFixed(1)} y2=${y.toFixed(1)}/>`;
}

function peerOf(peer, index, all) {
  const { x, y } = place(index, all);
  const isAbove = y < MIDDLE - 1;
  return svg`
    <circle class="peer ${peer.connected ? "linked" : ""}" cx=${x.toFixed(1)} cy=${y.toFixed(1)} r="15"/>
    <text x=${x.toFixed(1)} y=${(isAbove ? y - 24 : y + 33).toFixed(1)}>${short(peer.name || shortId(peer.id), NAME_CHARS)}</text>
    <text class="rtt" x=${x.toFixed(1)} y=${(isAbove ? y - 40 : y + 49).toFixed(1)}>${peer.rtt_ms === null ? "" : `${peer.rtt_ms} ms`}</text>
  `;
}

function short(text, chars) {
  const signs = [...plain(text)];
  return signs.length > chars ? `${signs.slice(0, chars - 1).join("")}…` : signs.join("");
}
