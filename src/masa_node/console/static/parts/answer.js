/** One question to one model, as it goes: its stream, its thinking, its pace, and what became of it. Kept nowhere. */

import { ask, NodeError, tryRead } from "../api.js";
import { eventsOf } from "../sse.js";
import { changed } from "../store.js";

const OPENS = "<think>"; // some models write their thinking into the answer, between these
const CLOSES = "</think>";
const NOTED_AFTER_MS = [50, 150, 400, 1000]; // a race is in the journal once its request has ended

/** Fields are for reading; `stop` ends it, and so frees the LLM's slot. */
export class Question {
  #abort = new AbortController();
  #began = performance.now();
  #content = "";
  #reasoning = "";
  isRunning = true;
  isStopped = false;
  error = "";
  requestId = "";
  servedBy = "";
  translated = "";
  pieces = 0;
  firstPieceMs = null;
  totalMs = null;
  usage = null;
  race = null;

  constructor(model, prompt, headers) {
    this.model = model;
    this.done = this.#run({ model, messages: [{ role: "user", content: prompt }] }, headers);
  }

  stop() {
    this.isStopped = true;
    this.#abort.abort();
  }

  /** What it thought, and what it said. */
  get text() {
    const { thinking, answer } = parted(this.#content);
    return { thinking: this.#reasoning + thinking, answer };
  }

  /** Since the first; null until there are two. */
  get piecesPerS() {
    const seconds = ((this.totalMs ?? performance.now() - this.#began) - this.firstPieceMs) / 1000;
    return this.pieces > 1 && seconds > 0 ? (this.pieces - 1) / seconds : null;
  }

  async #run(body, headers) {
    const sent = { ...body, stream: true, stream_options: { include_usage: true } };
    try {
      const response = await ask("/v1/chat/completions", { method: "POST", body: sent, headers, signal: this.#abort.signal });
      this.#headed(response.headers);
      await this.#read(response);
    } catch (error) {
      this.#failed(error);
    }
    this.isRunning = false;
    this.totalMs = performance.now() - this.#began;
    changed();
    if (this.requestId) await this.#lookForRace();
  }

  #headed(headers) {
    this.requestId = headers.get("X-Request-Id") ?? "";
    this.servedBy = headers.get("X-Masa-Served-By") ?? "";
    this.translated = headers.get("X-Masa-Translated") ?? "";
    changed();
  }

  async #read(response) {
    let isWhole = false;
    for await (const { data } of eventsOf(response)) {
      if (data === "[DONE]") isWhole = true;
      else this.#piece(JSON.parse(data));
    }
    if (!isWhole) this.error ||= "The answer was cut: it did not come to its end.";
  }

  #piece(chunk) {
    if (chunk.error) this.error = String(chunk.error.message ?? chunk.error);
    if (chunk.usage) this.usage = chunk.usage;
    const delta = chunk.choices?.[0]?.delta ?? {};
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    if (thought || delta.content) {
      this.pieces += 1;
      this.firstPieceMs ??= performance.now() - this.#began;
      this.#reasoning += thought;
      this.#content += delta.content ?? "";
    }
    changed();
  }

  #failed(error) {
    if (this.isStopped) return;
    this.error = error.message;
    if (error instanceof NodeError && error.status) this.#headed(error.headers);
  }

  async #lookForRace() {
    for (const wait of NOTED_AFTER_MS) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      const { value } = await tryRead(`/api/v1/races/${encodeURIComponent(this.requestId)}`);
      if (value) {
        this.race = value;
        changed();
        return;
      }
    }
  }
}

/** Takes thinking that stands at the beginning of an answer out of it, ended or not. */
export function parted(content) {
  const start = content.trimStart();
  if (!start.startsWith(OPENS)) return OPENS.startsWith(start) ? { thinking: "", answer: "" } : { thinking: "", answer: content };
  const [thinking, ...rest] = start.slice(OPENS.length).split(CLOSES);
  return { thinking: thinking.trim(), answer: rest.join(CLOSES).trimStart() };
}
