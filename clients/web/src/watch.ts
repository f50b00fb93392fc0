/**
 * One Watch call that is kept open: opened again when it breaks, resumed where it stood, and never trusted when silent.
 *
 * The server sends something at least every 15 s (a heartbeat when nothing else). `SILENCE_MS` without a message is a
 * fault: the call is given up and opened again. After a failure the wait before the next attempt doubles up to
 * `BACKOFF_MAX_MS`, drawn at random between half and all of it, and starts small again once a stream has been live for
 * `STEADY_MS`. A call is resumed by the cursor of the last message received; where the server no longer has that, it
 * starts again with the present.
 */

import type { End, Heartbeat, Live } from "@contract/perpmesh/type/v1/stream_pb.js";
import { type Failure, judge } from "./failure";

export const SILENCE_MS = 20_000;
export const BACKOFF_MIN_MS = 250;
export const BACKOFF_MAX_MS = 8_000;
export const STEADY_MS = 5_000;

/** Where the call stands. Only `live` means that what is shown is the present. */
export type Link =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  | { readonly kind: "waiting"; readonly why: string; readonly waitMs: number }
  | { readonly kind: "paused" }
  | { readonly kind: "stopped"; readonly why: string };

type Common =
  | { case: "live"; value: Live }
  | { case: "heartbeat"; value: Heartbeat }
  | { case: "end"; value: End }
  | { case: undefined; value?: undefined };

/** The shape of every Watch response. */
export interface Message<E> {
  readonly cursor: string;
  readonly event: E | Common;
}

export interface Listener<E extends { case: string }> {
  /** A call begins, with the present when `fresh`, else after the last message received. */
  opened(fresh: boolean): void;
  /** A value or a gap. A text says what is wrong with it: the call is opened again, with the present. */
  event(event: E): string | null;
  /** The present has all been received. */
  live(fresh: boolean): void;
  /** The call stands otherwise than before. */
  link(link: Link): void;
  /** The server said why it ends the stream. */
  ended(end: End): void;
}

export type Open<E> = (cursor: string, signal: AbortSignal) => AsyncIterable<Message<E>>;

export class Watch<E extends { case: string }> {
  #cursor = "";
  #attempts = 0;
  #run: AbortController | null = null;
  #wake: (() => void) | null = null;

  constructor(
    private readonly open: Open<E>,
    private readonly listener: Listener<E>,
    private readonly random: () => number = Math.random,
  ) {}

  /** Opens the call, or opens it at once where it waits. */
  start(): void {
    if (this.#run !== null) {
      this.#wake?.();
      return;
    }
    const run = new AbortController();
    this.#run = run;
    void this.#keep(run);
  }

  /** Gives the call up and keeps its cursor. */
  pause(): void {
    if (this.#run === null) return;
    this.#stop();
    this.listener.link({ kind: "paused" });
  }

  /** Gives the call up for good, without a word to the listener. */
  close(): void {
    this.#stop();
  }

  #stop(): void {
    this.#run?.abort();
    this.#run = null;
  }

  async #keep(run: AbortController): Promise<void> {
    while (!run.signal.aborted) {
      this.listener.link({ kind: "connecting" });
      const failure = await this.#once(run.signal);
      if (run.signal.aborted) return;
      if (failure.then === "stop") {
        this.#run = null;
        this.#cursor = "";
        this.listener.link({ kind: "stopped", why: failure.why });
        return;
      }
      if (failure.then === "restart") this.#cursor = "";
      const waitMs = Math.max(this.#backoff(), failure.waitMs);
      this.listener.link({ kind: "waiting", why: failure.why, waitMs });
      await this.#sleep(waitMs, run.signal);
    }
  }

  /** Opens the call once and reads it to its end; returns why it ended. */
  async #once(outer: AbortSignal): Promise<Failure> {
    const call = new AbortController();
    const give = (): void => call.abort();
    outer.addEventListener("abort", give);
    let silent = false;
    const silence = (): ReturnType<typeof setTimeout> =>
      setTimeout(() => {
        silent = true;
        call.abort();
      }, SILENCE_MS);
    let watchdog = silence();
    let steady: ReturnType<typeof setTimeout> | undefined;
    const fresh = this.#cursor === "";
    try {
      this.listener.opened(fresh);
      for await (const message of this.open(this.#cursor, call.signal)) {
        clearTimeout(watchdog);
        if (outer.aborted) break;
        watchdog = silence();
        if (message.cursor !== "") this.#cursor = message.cursor;
        const failure = this.#take(message, fresh);
        if (failure !== null) return failure;
        if (message.event.case === "live") steady = setTimeout(() => (this.#attempts = 0), STEADY_MS);
      }
      return { then: "resume", why: "The stream ended without a reason.", waitMs: 0 };
    } catch (error) {
      if (silent) return { then: "resume", why: `Nothing was received for ${SILENCE_MS / 1000} s.`, waitMs: 0 };
      return judge(error);
    } finally {
      clearTimeout(watchdog);
      clearTimeout(steady);
      outer.removeEventListener("abort", give);
      call.abort();
    }
  }

  #take(message: Message<E>, fresh: boolean): Failure | null {
    const event = message.event as E | Common;
    switch (event.case) {
      case undefined: // an event of a later version of the contract
      case "heartbeat":
        return null;
      case "live":
        this.listener.live(fresh);
        this.listener.link({ kind: "live" });
        return null;
      case "end": {
        const end = (event as Extract<Common, { case: "end" }>).value;
        this.listener.ended(end);
        return { then: end.resumable ? "resume" : "stop", why: `${end.reason}: ${end.message}`, waitMs: 0 };
      }
      default: {
        const wrong = this.listener.event(event as E);
        return wrong === null ? null : { then: "restart", why: `Out of step: ${wrong}.`, waitMs: 0 };
      }
    }
  }

  #backoff(): number {
    const whole = Math.min(BACKOFF_MIN_MS * 2 ** this.#attempts, BACKOFF_MAX_MS);
    this.#attempts += 1;
    return Math.round(whole * (0.5 + this.random() / 2));
  }

  async #sleep(waitMs: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      signal.addEventListener("abort", done);
      this.#wake = done;
    });
  }
}
