/** Numbers, times and names as people read them. */

import { state } from "./store.js";

const whole = new Intl.NumberFormat("en");
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const parts = new Intl.NumberFormat("en", { minimumFractionDigits: 4, maximumFractionDigits: 4 }); // of a dollar
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const SHORT_ID_CHARS = 10; // as the node's log and commands have it
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** `1,204`; a dash where it is not known. */
export const count = (number) => (number === null || number === undefined ? "–" : whole.format(number));

/** `3 peers`, `1 peer`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** `$12.40`, `$0.0026`, `$0`. */
export function dollars(number) {
  if (number >= 1) return `$${cents.format(number)}`;
  return number ? `$${parts.format(number)}` : "$0";
}

/** `29 ms`, `1.24 s`. */
export function ms(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 60_000) return `${(number / 60_000).toFixed(1)} min`;
  if (number >= 1000) return `${(number / 1000).toFixed(number >= 10_000 ? 1 : 2)} s`;
  return `${number >= 10 ? Math.round(number) : number.toFixed(1)} ms`;
}

/** `14:03:59`, with the day if it is another than today. */
export function time(unixS) {
  const then = new Date(unixS * 1000);
  return (then.toDateString() === new Date().toDateString() ? clock : day).format(then);
}

/** `5 min ago`. */
export function ago(unixS) {
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - unixS));
  if (seconds < 10) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return `${counted(Math.round(seconds / 86_400), "day")} ago`;
}

/** Strangers' text in one line: what cannot be seen, or turns the line around, becomes a mark that can be seen. */
export const plain = (text) => String(text).replace(UNSEEN, "\ufffd");

export const shortId = (id) => (/^[0-9a-f]{64}$/.test(id) ? id.slice(0, SHORT_ID_CHARS) : plain(id));

/** A provider as people call it: a peer's name, else its short id; the name of an own LLM server. */
export function nameOf(provider) {
  const peer = state.peers?.value?.peers.find((each) => each.id === provider);
  return peer?.name ? plain(peer.name) : shortId(provider);
}

/** Who answered, with where that is; "nobody" where nobody did. */
export function servedBy(race) {
  if (!race.served_by) return "nobody";
  const isLocal = race.attempts.some((each) => each.provider === race.served_by && each.local);
  return isLocal ? `${plain(race.served_by)} (own)` : nameOf(race.served_by);
}

/** `openai.chat` is what the node calls it; a code becomes words. */
export const spaced = (code) => plain(code).replaceAll("_", " ");

/** The value below which the share `p` of these lies; null for none. */
export function percentile(numbers, p) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)];
}
