/** What a race says, before it is drawn: rows on an axis of milliseconds, moments, and words. No drawing here. */

import { ms, nameOf, plain, spaced } from "../words.js";

const ROOM = 1.08; // right of the last moment

/** One row for each attempt, in the order in which they were asked. `until` is where the winner's answer ends. */
export function rowsOf(race) {
  return race.attempts.map((attempt) => {
    const kind = ["won", "cancelled"].includes(attempt.result) ? attempt.result : "failed";
    return {
      id: attempt.provider,
      name: attempt.local ? plain(attempt.provider) : nameOf(attempt.provider),
      where: attempt.local ? "own" : "peer",
      kind,
      result: attempt.result,
      from: attempt.asked_ms,
      to: attempt.ended_ms,
      until: kind === "won" ? Math.max(race.total_ms, attempt.ended_ms) : attempt.ended_ms,
      isStalled: attempt.result === "stalled", // a later deadline ended it: no more pieces came
    };
  });
}

/** Where the axis ends: after the last attempt, or with `whole` after the answer. */
export function axisEnd(race, whole) {
  const ends = race.attempts.map((attempt) => attempt.ended_ms);
  const last = Math.max(1, race.queued_ms, ...ends);
  return (whole || !ends.length ? Math.max(last, race.total_ms) : last) * ROOM;
}

/** About five round numbers from 0 to the end. */
export function ticksOf(end) {
  const rough = end / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}

/** When something happened: for steps of a replay. */
export function momentsOf(race, end) {
  const all = race.attempts.flatMap((attempt) => [attempt.asked_ms, attempt.ended_ms]);
  return [...new Set([...all, end].filter((each) => each <= end))].sort((one, other) => one - other);
}

/** `won`, `cancelled`, `failed: connection refused`. */
export const resultWords = (row) => (row.kind === "failed" ? `failed: ${spaced(row.result)}` : row.result);

/** How a row stands at this moment of a replay. */
export function standing(row, now) {
  if (now < row.from) return "not asked yet";
  if (now < row.to) return `asked at ${ms(row.from)}`;
  return `${resultWords(row)} at ${ms(row.to)}`;
}

/** The race in a sentence: what the picture says, for those who do not see it. */
export function sentence(race) {
  const rows = rowsOf(race);
  if (!rows.length) return race.error ? `Nobody was asked: ${spaced(race.error)}.` : "Nobody was asked.";
  const parts = rows.map((row) => `${row.name} ${verb(row)} ${ms(row.to)}`);
  return `${parts.join("; ")}.`;
}

function verb(row) {
  if (row.kind === "won") return "won after";
  return row.kind === "cancelled" ? "was cancelled after" : `failed (${spaced(row.result)}) after`;
}

/** How the request ended, in a word. */
export function ending(race) {
  if (!race.error) return "answered";
  return race.error === "caller_gone" ? "caller left" : spaced(race.error);
}

/** Good, gone or bad: the colour of its end. */
export function endingKind(race) {
  if (!race.error) return "good";
  return ["caller_gone", "ended_by_owner"].includes(race.error) ? "warn" : "bad";
}

/** Who has won at this moment of a replay; null while nobody has. */
export const winnerAt = (rows, now) => rows.find((row) => row.kind === "won" && row.to <= now) ?? null;
