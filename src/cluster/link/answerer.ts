// The answering end of one link: finds the method, runs it, sends what it returns or throws, keeps
// credits of streams and uploads, aborts what the caller cancels. Dies with its link.

import type { Logger } from "pino";
import { AssertionFailure } from "../../lib/assert.ts";
import { noteShortLived } from "../../lib/short-lived.ts";
import { MailError } from "../../mail/errors.ts";
import type { MailFailure } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import { askKind } from "./caller.ts";
import { CreditGate, ItemQueue, creditCost } from "./credits.ts";
import { FrameError, frameType } from "./frame.ts";
import type { FrameType } from "./frame.ts";
import type { Link, LinkLimits } from "./link.ts";
import type { MethodRegistry } from "./registry.ts";
import type { RpcReply, RpcRequest } from "./rpc.ts";
import { failureOf, packValue, unpackArray, unpackValue } from "./wire-value.ts";

export interface AnswererOptions {
  readonly from: MemberId;
  readonly registry: MethodRegistry;
  readonly limits: LinkLimits;
  readonly log: Logger;
  /** Load figures to attach to the next reply, or undefined when they were sent just now. */
  readonly loads: () => unknown;
  /** What a failed assertion in a handler does: in production it ends the process. */
  readonly fatal: (error: AssertionFailure) => void;
}

export class Answerer {
  readonly #link: Link;
  readonly #options: AnswererOptions;
  readonly #active = new Map<number, Served>();

  constructor(link: Link, options: AnswererOptions) {
    this.#link = link;
    this.#options = options;
  }

  get inFlight(): number {
    return this.#active.size;
  }

  /** A frame of the asking end. @throws {FrameError} */
  receive(type: FrameType, id: number, head: Uint8Array, body: Uint8Array | undefined): void {
    switch (type) {
      case frameType.request:
        this.#ask(id, head, body);
        return;
      case frameType.send:
        this.#sent(head, body);
        return;
      case frameType.cancel:
        this.#end(id)?.abort("cancelled by the caller");
        return;
      case frameType.credit: {
        const bytes = unpackValue(head);
        if (typeof bytes !== "number") throw new FrameError("credit is not a number");
        this.#active.get(id)?.gate?.grant(bytes);
        return;
      }
      case frameType.piece: {
        // Pieces of an upload that was answered early are still under way: not an error.
        const piece = body ?? noBytes;
        noteShortLived(piece.length);
        this.#active.get(id)?.queue?.push(piece, creditCost(piece.length));
        return;
      }
      case frameType.end:
        this.#active.get(id)?.queue?.end();
        return;
      default:
        throw new FrameError(`frame type ${type} from the asking end`);
    }
  }

  /** The link is gone: every handler's signal aborts. */
  close(why: string): void {
    const served = [...this.#active.values()];
    this.#active.clear();
    for (const request of served) request.abort(why);
  }

  #ask(id: number, head: Uint8Array, body: Uint8Array | undefined): void {
    const [name, kind, value] = unpackArray(head);
    if (typeof name !== "string") throw new FrameError("request without a method");
    if (this.#active.has(id)) throw new FrameError("request id in use");
    const method = this.#options.registry.method(name);
    const request = new Served(this.#options.from, value, body);
    if (this.#active.size >= this.#options.limits.requestsMax) {
      this.#fail(id, name, new MailError({ code: "BUSY", what: "link" }));
    } else if (method?.kind === "call" && kind === askKind.call) {
      this.#call(id, name, request, method.handle);
    } else if (method?.kind === "stream" && kind === askKind.stream) {
      this.#active.set(id, request);
      this.#stream(id, request, method.handle).catch((error: unknown) =>
        this.#fail(id, name, error, request),
      );
    } else if (method?.kind === "upload" && kind === askKind.upload) {
      this.#upload(id, name, request, method.handle);
    } else {
      const why = method === undefined ? "unknown method" : "wrong kind of request for method";
      this.#fail(id, name, new MailError({ code: "INVALID", why: `${why} ${name}` }));
    }
  }

  #call(
    id: number,
    name: string,
    request: Served,
    handle: (request: RpcRequest) => RpcReply | Promise<RpcReply>,
  ): void {
    try {
      const reply = handle(request);
      if (!(reply instanceof Promise)) {
        this.#reply(id, reply);
        return;
      }
      this.#active.set(id, request);
      reply.then(
        (value) => this.#settle(id, name, value),
        (error: unknown) => this.#fail(id, name, error, request),
      );
    } catch (error) {
      this.#fail(id, name, error);
    }
  }

  #upload(
    id: number,
    name: string,
    request: Served,
    handle: (request: RpcRequest, chunks: AsyncIterable<Uint8Array>) => Promise<RpcReply>,
  ): void {
    const queue = new ItemQueue<Uint8Array>(
      (bytes) => this.#link.write(frameType.credit, id, packValue(bytes)),
      // The handler stopped reading: it will answer; what still comes is dropped.
      () => undefined,
    );
    request.queue = queue;
    this.#active.set(id, request);
    const run = async (): Promise<RpcReply> => handle(request, queue);
    run().then(
      (value) => this.#settle(id, name, value),
      (error: unknown) => this.#fail(id, name, error, request),
    );
  }

  async #stream(
    id: number,
    request: Served,
    handle: (request: RpcRequest) => AsyncIterable<RpcReply>,
  ): Promise<void> {
    const gate = new CreditGate();
    request.gate = gate;
    for await (const item of handle(request)) {
      if (gate.closed) return;
      const head = packValue(item.head);
      this.#link.write(frameType.item, id, head, item.body);
      gate.spend(creditCost(head.length + (item.body?.length ?? 0)));
      // Leaving the loop closes the handler's iterator.
      if (!gate.open) await gate.ready();
      if (this.#link.congested) await this.#link.whenDrained();
      if (gate.closed) return;
    }
    if (this.#end(id) !== undefined) this.#link.write(frameType.end, id);
  }

  #sent(head: Uint8Array, body: Uint8Array | undefined): void {
    const [name, value] = unpackArray(head);
    if (typeof name !== "string") throw new FrameError("request without a method");
    const method = this.#options.registry.method(name);
    if (method?.kind !== "send") {
      this.#options.log.warn({ method: name }, "one-way frame of an unknown method dropped");
      return;
    }
    try {
      method.handle(new Served(this.#options.from, value, body));
    } catch (error) {
      this.#explain(name, error);
    }
  }

  /** Answers unless the request was cancelled meanwhile. */
  #settle(id: number, name: string, reply: RpcReply): void {
    const request = this.#end(id);
    if (request === undefined) return;
    request.queue?.abandon();
    try {
      this.#reply(id, reply);
    } catch (error) {
      this.#fail(id, name, error);
    }
  }

  #reply(id: number, reply: RpcReply): void {
    const loads = this.#options.loads();
    const head = packValue(loads === undefined ? [reply.head] : [reply.head, loads]);
    this.#link.write(frameType.reply, id, head, reply.body);
  }

  /** @param request once the handler has gone on beyond its first turn: it may be cancelled by now. */
  #fail(id: number, name: string, error: unknown, request?: Served): void {
    if (request?.aborted === true) {
      // Nobody waits for it, and handlers may end by throwing then; but a bug is a bug.
      if (error instanceof AssertionFailure) this.#options.fatal(error);
      return;
    }
    this.#end(id);
    request?.queue?.abandon();
    request?.gate?.close();
    this.#link.write(frameType.error, id, packValue(this.#explain(name, error)));
  }

  /** The failure to send; what is not of the world is logged here, and our own bug ends the process. */
  #explain(name: string, error: unknown): MailFailure {
    if (error instanceof AssertionFailure) this.#options.fatal(error);
    const failure = failureOf(error);
    if (failure !== undefined) return failure;
    this.#options.log.error({ err: error, method: name }, "request failed unexpectedly");
    return { code: "UNAVAILABLE", why: "internal error" };
  }

  #end(id: number): Served | undefined {
    const request = this.#active.get(id);
    if (request !== undefined) this.#active.delete(id);
    return request;
  }
}

const noBytes = new Uint8Array(0);

/** A request under way. Its signal is made when a handler asks for it: most never do. */
class Served implements RpcRequest {
  readonly from: MemberId;
  readonly head: unknown;
  declare readonly body?: Uint8Array;
  gate: CreditGate | undefined;
  queue: ItemQueue<Uint8Array> | undefined;
  #controller: AbortController | undefined;
  #aborted: MailError | undefined;

  constructor(from: MemberId, head: unknown, body: Uint8Array | undefined) {
    this.from = from;
    this.head = head;
    if (body !== undefined) this.body = body;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  get aborted(): boolean {
    return this.#aborted !== undefined;
  }

  abort(why: string): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = new MailError({ code: "UNAVAILABLE", why });
    this.gate?.close();
    this.queue?.abandon(this.#aborted);
    this.#controller?.abort(this.#aborted);
  }
}
