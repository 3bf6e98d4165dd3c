/** Network: this node as others see it, its peers, and who may come in. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { isGuest, load, loadDoctor } from "../api.js";
import { invitesView } from "../parts/invites.js";
import { copyButton } from "../parts/paste.js";
import { peersView } from "../parts/peers.js";
import { ringView } from "../parts/ring.js";
import { empty, fact, headView, shown } from "../parts/show.js";
import { state } from "../store.js";
import { count, counted, plain, spaced } from "../words.js";

export const title = "Network";
const EVERY_MS = 5000; // load and round trips change without an event
const REACHABILITY = new Set(["address", "mapping", "relay", "udp", "way in"]);
const LEVELS = { ok: ["good", ""], warn: ["warn", ": warning"], fail: ["bad", ": failed"] }; // a colour alone says nothing to some

setInterval(() => {
  if (state.route.page === "network" && !document.hidden && state.link !== "lost" && !state.gate) load("node", "peers");
}, EVERY_MS);

export function open() {
  load("node", "peers", "invites");
  if (!state.doctor) loadDoctor(false);
}

export function view() {
  if (isGuest()) return guestView();
  const mayChange = state.me?.may_change ?? false;
  return html`
    ${headView("Network", sentence())}
    <div class="stack">
      ${state.me && !mayChange ? html`<p class="note">You may look, but not change anything: run <code>masa-node console</code> on the node's machine, or use a key made with <code>--admin</code>.</p>` : nothing}
      <div class="columns">
        <section class="card"><h2>This node</h2>${shown(state.node, nodeView)}</section>
        <section class="card"><h2>The ring</h2>${shown(state.peers, ({ peers }) => ringOrNot(peers))}</section>
      </div>
      <section class="card"><h2>Peers</h2>${shown(state.peers, (found) => listView(found, mayChange))}</section>
      ${invitesView(mayChange)}
    </div>
  `;
}

const guestView = () => html`
  ${headView("Network", "Peers that share their models with this node, and it with them.")}
  <section class="card">${empty("The owner's to see", html`Your key may ask for models, and see <a href="#/requests">what it asked</a>.`)}</section>
`;

function sentence() {
  const found = state.peers?.value;
  if (!found) return "Peers that share their models with this node, and it with them.";
  if (found.state !== "on") return plain(found.why || "This node is on no network.");
  if (!found.known) return "No peer is known yet.";
  const linked = found.peers.filter((peer) => peer.connected).length;
  return `${counted(linked, "peer")} of ${count(found.known)} known ${linked === 1 ? "is" : "are"} linked.`;
}

const ringOrNot = (peers) =>
  peers.length ? ringView(state.node?.value?.name ?? "", peers) : empty("Alone, so far", "Invite a peer below, or join one by its link.");

const listView = ({ peers, why }, mayChange) =>
  peers.length ? peersView(peers, mayChange) : empty("No peer is known", why ? plain(why) : "Make an invite below, and send its link to a friend.");

const nodeView = (node) => html`
  <dl class="facts">
    ${fact("Name", plain(node.name) || "none (NODE_NAME)")}
    ${node.node_id ? fact("Id", html`<code>${node.node_id}</code> ${copyButton(node.node_id, "this node's id")}`) : nothing}
    ${fact("Addresses", node.addresses.length ? node.addresses.map((address) => html`<div><code>${address}</code></div>`) : "none")}
    ${fact("Relay", node.relay_url ? html`<code>${node.relay_url}</code>` : "none")}
    ${fact("Reachability", shown(state.doctor, reachability))}
    ${fact("Shares", html`<code>${node.share}</code>`)}
    ${fact("Asks", `race ${spaced(node.race)}, privacy ${spaced(node.privacy)}`)}
    ${fact("Load", `${count(node.running)} own and ${count(node.peers_running)} of peers under way, ${count(node.waiting)} waiting`)}
    ${fact("Stakes", plain(node.staking))}
    ${fact("Version", node.version)}
  </dl>
`;

function reachability({ findings }) {
  const found = findings.filter((each) => REACHABILITY.has(each.check));
  if (!found.length) return "not known";
  return found.map(
    (each) => html`<div><span class="tag ${LEVELS[each.level][0]}">${each.check}${LEVELS[each.level][1]}</span> ${plain(each.says)}
      ${each.next && each.level !== "ok" ? html`<span class="soft small">Next: ${plain(each.next)}</span>` : nothing}</div>`,
  );
}
