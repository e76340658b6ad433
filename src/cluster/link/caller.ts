// The asking end of one link: request ids, what waits for an answer, deadlines, cancelling, credits.
// Dies with its link; outgoing-peer.ts makes a new one on the next. Leaves handlers to answerer.ts.

import { noteShortLived } from "../../lib/short-lived.ts";
import { MailError } from "../../mail/errors.ts";
import { CreditGate, ItemQueue, creditCost, pieceBytesMax } from "./credits.ts";
import { FrameError, frameType } from "./frame.ts";
import type { FrameType } from "./frame.ts";
import type { Link, LinkLimits } from "./link.ts";
import type { RpcReply } from "./rpc.ts";
import { SignalTable } from "./signal-table.ts";
import { decodeFailure, packValue, unpackArray, unpackValue } from "./wire-value.ts";

/** How a method is asked; the answering end refuses a call of a stream. Part of the wire format. */
export const askKind = { call: 0, stream: 1, upload: 2 } as const;

interface Pending {
  readonly resolve: (reply: RpcReply) => void;
  readonly reject: (error: Error) => void;
  readonly signal: AbortSignal;
  /** Monotonic time at which it is given up; Infinity for none. */
  readonly deadlineMs: number;
  /** Of an upload. */
  readonly gate?: CreditGate;
  /** Of a stream. */
  readonly queue?: ItemQueue<RpcReply>;
}

export class Caller {
  readonly #link: Link;
  readonly #limits: LinkLimits;
  readonly #onLoads: (loads: unknown) => void;
  readonly #pending = new Map<number, Pending>();
  readonly #signals = new SignalTable((id, reason) => this.#cancel(id, cancelled(reason)));
  #lastId = 0;
  #closedWhy: string | undefined;

  constructor(link: Link, limits: LinkLimits, onLoads: (loads: unknown) => void) {
    this.#link = link;
    this.#limits = limits;
    this.#onLoads = onLoads;
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  call(
    method: string,
    head: unknown,
    options: { readonly body?: Uint8Array; readonly signal: AbortSignal },
    deadlineMs: number,
  ): Promise<RpcReply> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      this.#start(askKind.call, method, head, options.body, {
        resolve,
        reject,
        signal,
        deadlineMs,
      });
    });
  }

  stream(
    method: string,
    head: unknown,
    options: { readonly body?: Uint8Array; readonly signal: AbortSignal },
  ): ItemQueue<RpcReply> {
    const queue = new ItemQueue<RpcReply>(
      (bytes) => {
        if (id !== undefined) this.#link.write(frameType.credit, id, packValue(bytes));
      },
      () => {
        if (id !== undefined) this.#cancel(id, cancelled(undefined));
      },
    );
    const id = this.#start(askKind.stream, method, head, options.body, {
      resolve: () => queue.end(new MailError({ code: "INVALID", why: `${method} is no stream` })),
      reject: (error) => queue.abandon(error),
      signal: options.signal,
      deadlineMs: Infinity,
      queue,
    });
    return queue;
  }

  upload(
    method: string,
    head: unknown,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<RpcReply> {
    return new Promise((resolve, reject) => {
      const gate = new CreditGate();
      const id = this.#start(askKind.upload, method, head, undefined, {
        resolve: (reply) => {
          gate.close();
          resolve(reply);
        },
        reject: (error) => {
          gate.close();
          reject(error);
        },
        signal,
        deadlineMs: Infinity,
        gate,
      });
      if (id === undefined) return;
      this.#sendPieces(id, gate, chunks).then(
        () => undefined,
        (error: unknown) => this.#cancel(id, error instanceof Error ? error : cancelled(error)),
      );
    });
  }

  /** One frame without a reply; dropped when the link is congested. */
  send(method: string, head: unknown, body: Uint8Array | undefined): void {
    if (!this.#link.congested) this.#link.write(frameType.send, 0, packValue([method, head]), body);
  }

  /** A frame of the answering end. @throws {FrameError} */
  receive(type: FrameType, id: number, head: Uint8Array, body: Uint8Array | undefined): void {
    const pending = this.#pending.get(id);
    switch (type) {
      case frameType.reply: {
        const values = unpackArray(head);
        if (values.length > 1) this.#onLoads(values[1]);
        this.#finish(id)?.resolve(replyOf(values[0], body));
        return;
      }
      case frameType.error: {
        const failure = decodeFailure(unpackValue(head));
        const done = this.#finish(id);
        if (done?.queue !== undefined) done.queue.end(new MailError(failure));
        else done?.reject(new MailError(failure));
        return;
      }
      case frameType.item:
        if (body !== undefined) noteShortLived(body.length);
        // Frames of a request that we have cancelled are still under way: not an error.
        pending?.queue?.push(
          replyOf(unpackValue(head), body),
          creditCost(head.length + (body?.length ?? 0)),
        );
        return;
      case frameType.end:
        if (pending?.queue !== undefined) this.#finish(id)?.queue?.end();
        return;
      case frameType.credit: {
        const bytes = unpackValue(head);
        if (typeof bytes !== "number") throw new FrameError("credit is not a number");
        pending?.gate?.grant(bytes);
        return;
      }
      default:
        throw new FrameError(`frame type ${type} from the answering end`);
    }
  }

  /** Gives up what is over its deadline. */
  tick(nowMs: number): void {
    for (const [id, pending] of this.#pending) {
      if (pending.deadlineMs > nowMs) continue;
      this.#cancel(id, new MailError({ code: "UNAVAILABLE", why: "no answer in time" }));
    }
  }

  /** The link is gone: everything under way ends with UNAVAILABLE. */
  close(why: string): void {
    this.#closedWhy = why;
    for (const id of this.#pending.keys()) {
      this.#finish(id)?.reject(new MailError({ code: "UNAVAILABLE", why }));
    }
  }

  #start(
    kind: number,
    method: string,
    head: unknown,
    body: Uint8Array | undefined,
    pending: Pending,
  ): number | undefined {
    const refused = this.#refusal(pending.signal);
    if (refused !== undefined) {
      pending.reject(refused);
      return undefined;
    }
    const id = this.#nextId();
    try {
      this.#link.write(frameType.request, id, packValue([method, kind, head]), body);
    } catch (error) {
      pending.reject(error instanceof Error ? error : cancelled(error));
      return undefined;
    }
    this.#pending.set(id, pending);
    this.#signals.add(pending.signal, id);
    return id;
  }

  #refusal(signal: AbortSignal): MailError | undefined {
    if (signal.aborted) return cancelled(signal.reason);
    if (this.#closedWhy !== undefined) {
      return new MailError({ code: "UNAVAILABLE", why: this.#closedWhy });
    }
    if (this.#pending.size >= this.#limits.requestsMax || this.#link.congested) {
      return new MailError({ code: "BUSY", what: "link" });
    }
    return undefined;
  }

  #nextId(): number {
    do {
      this.#lastId = this.#lastId >= 0xffff_ffff ? 1 : this.#lastId + 1;
    } while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #finish(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    this.#signals.remove(pending.signal, id);
    return pending;
  }

  #cancel(id: number, error: Error): void {
    const pending = this.#finish(id);
    if (pending === undefined) return;
    this.#link.write(frameType.cancel, id);
    pending.reject(error);
  }

  async #sendPieces(
    id: number,
    gate: CreditGate,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += pieceBytesMax) {
        await gate.ready();
        await this.#link.whenDrained();
        // Answered, cancelled or cut off before the end: leaving the loop closes the source.
        if (gate.closed) return;
        const piece = chunk.subarray(at, at + pieceBytesMax);
        this.#link.write(frameType.piece, id, undefined, piece);
        gate.spend(creditCost(piece.length));
      }
      if (gate.closed) return;
    }
    if (!gate.closed) this.#link.write(frameType.end, id);
  }
}

/** Why a request ended without an answer, as the MailError that callers are promised. */
function cancelled(reason: unknown): MailError {
  if (reason instanceof MailError) return reason;
  const timedOut = reason instanceof Error && reason.name === "TimeoutError";
  const why = timedOut ? "no answer in time" : "cancelled";
  return new MailError({ code: "UNAVAILABLE", why }, { cause: reason });
}

function replyOf(head: unknown, body: Uint8Array | undefined): RpcReply {
  return body === undefined ? { head } : { head, body };
}
