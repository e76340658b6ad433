// Links inside one process for tests of what runs over them: heads pass through msgpack, streams and
// calls break when told to.

import { Packr } from "msgpackr";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type {
  CallOptions,
  Links,
  Peer,
  RpcReply,
  RpcRequest,
} from "../../../src/cluster/link/rpc.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { memberId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";

const packr = new Packr({ useRecords: false });

export class MemoryPeer implements Peer {
  readonly id: MemberId = memberId("n1");
  readonly registry = new MethodRegistry();
  up = true;
  /** Streams break after so many more items. */
  itemsUntilBreak = Number.POSITIVE_INFINITY;
  /** Calls whose answer is lost. */
  answersToLose = 0;
  readonly heads: unknown[] = [];
  /** Most streams that were asked for and had not answered, since it was set. */
  streamsAtOnce = 0;
  #asking = 0;
  readonly #breaks = new Set<(quietly: boolean) => void>();
  readonly #listeners = new Set<(up: boolean) => void>();

  async call(method: string, head: unknown, options: CallOptions): Promise<RpcReply> {
    const found = this.registry.method(method);
    if (found?.kind !== "call") throw broken(`no call ${method}`);
    const reply = await found.handle(this.#request(head, options));
    if (this.answersToLose > 0) {
      this.answersToLose -= 1;
      throw broken("answer lost");
    }
    return over(reply);
  }

  /** Ends every stream that is open now; `quietly`: its handler is not told. */
  breakStreams(options: { readonly quietly?: boolean } = {}): void {
    for (const run of this.#breaks) run(options.quietly === true);
  }

  stream(method: string, head: unknown, options: CallOptions): AsyncIterable<RpcReply> {
    return { [Symbol.asyncIterator]: () => this.#iterate(method, head, options) };
  }

  #iterate(method: string, head: unknown, options: CallOptions): AsyncIterator<RpcReply> {
    const found = this.registry.method(method);
    if (found?.kind !== "stream") throw broken(`no stream ${method}`);
    const gone = new AbortController();
    const cancel = (): void => gone.abort(options.signal.reason);
    options.signal.addEventListener("abort", cancel);
    const finish = (): void => {
      options.signal.removeEventListener("abort", cancel);
      this.#breaks.delete(cut);
    };
    const request = this.#request(head, { ...options, signal: gone.signal });
    const items = found.handle(request)[Symbol.asyncIterator]();
    let end: (result: Promise<IteratorResult<RpcReply>>) => void = () => undefined;
    const ended = new Promise<IteratorResult<RpcReply>>((resolve) => {
      end = resolve;
    });
    const cut = (quietly: boolean): void => {
      finish();
      end(Promise.reject(broken("link broke")));
      if (!quietly) gone.abort(broken("link broke"));
    };
    this.#breaks.add(cut);
    this.streamsAtOnce = Math.max(this.streamsAtOnce, ++this.#asking);
    const next = async (): Promise<IteratorResult<RpcReply>> => {
      const item = await items.next();
      if (item.done === true) {
        finish();
        return item;
      }
      if (this.itemsUntilBreak <= 0) {
        this.itemsUntilBreak = Number.POSITIVE_INFINITY;
        throw broken("link broke");
      }
      this.itemsUntilBreak -= 1;
      return { done: false, value: over(item.value) };
    };
    let first = true;
    return {
      next: async () => {
        try {
          return await Promise.race([next(), ended]);
        } finally {
          if (first) this.#asking--;
          first = false;
        }
      },
      return: () => {
        finish();
        gone.abort(broken("cancelled"));
        const done = Promise.resolve({ done: true as const, value: undefined });
        end(done);
        return done;
      },
    };
  }

  async upload(
    method: string,
    head: unknown,
    chunks: AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal },
  ): Promise<RpcReply> {
    const found = this.registry.method(method);
    if (found?.kind !== "upload") throw broken(`no upload ${method}`);
    return over(await found.handle(this.#request(head, options), chunks));
  }

  send(): void {
    throw broken("nothing is sent in these tests");
  }

  onChange(listener: (up: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  setUp(up: boolean): void {
    this.up = up;
    for (const listener of this.#listeners) listener(up);
  }

  #request(head: unknown, options: CallOptions): RpcRequest {
    this.heads.push(head);
    const { body, signal } = options;
    return {
      from: memberId("g1"),
      head: pass(head),
      signal,
      ...(body === undefined ? {} : { body: Uint8Array.from(body) }),
    };
  }
}

export function linksTo(peer: MemoryPeer): Links {
  return { peer: () => peer, loads: () => new Map() };
}

function over(reply: RpcReply): RpcReply {
  return {
    head: pass(reply.head),
    ...(reply.body === undefined ? {} : { body: Uint8Array.from(reply.body) }),
  };
}

function pass(value: unknown): unknown {
  const passed: unknown = packr.unpack(packr.pack(value));
  return passed;
}

function broken(why: string): MailError {
  return new MailError({ code: "UNAVAILABLE", why });
}
