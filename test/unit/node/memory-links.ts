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

  async *stream(method: string, head: unknown, options: CallOptions): AsyncGenerator<RpcReply> {
    const found = this.registry.method(method);
    if (found?.kind !== "stream") throw broken(`no stream ${method}`);
    for await (const item of found.handle(this.#request(head, options))) {
      if (this.itemsUntilBreak <= 0) {
        this.itemsUntilBreak = Number.POSITIVE_INFINITY;
        throw broken("link broke");
      }
      this.itemsUntilBreak -= 1;
      yield over(item);
    }
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
