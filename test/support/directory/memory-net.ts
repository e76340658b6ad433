// Links between members inside one process: heads go through msgpack as on the wire, members can be
// cut off. For tests of what is built on Links; the real ones have their own.

import { packValue, unpackValue } from "../../../src/cluster/link/wire-value.ts";
import type {
  Links,
  Peer,
  RpcRegistry,
  RpcReply,
  RpcRequest,
} from "../../../src/cluster/link/rpc.ts";
import { MailError } from "../../../src/mail/errors.ts";
import type { MemberId } from "../../../src/mail/ids.ts";

type OnCall = (request: RpcRequest) => RpcReply | Promise<RpcReply>;
type OnStream = (request: RpcRequest) => AsyncIterable<RpcReply>;

class Registry implements RpcRegistry {
  readonly calls = new Map<string, OnCall>();
  readonly streams = new Map<string, OnStream>();
  readonly sends = new Map<string, (request: RpcRequest) => void>();
  onCall(method: string, handler: OnCall): void {
    this.calls.set(method, handler);
  }
  onStream(method: string, handler: OnStream): void {
    this.streams.set(method, handler);
  }
  onUpload(): void {
    throw new Error("no uploads here");
  }
  onSend(method: string, handler: (request: RpcRequest) => void): void {
    this.sends.set(method, handler);
  }
}

export class MemoryNet {
  readonly #registries = new Map<MemberId, Registry>();
  readonly #cut = new Set<MemberId>();
  readonly #parted = new Set<string>();
  readonly #streams = new Set<{
    readonly ends: readonly MemberId[];
    readonly stop: AbortController;
  }>();
  readonly loads = new Map<MemberId, unknown>();
  /** Calls made so far, by method. */
  readonly counts = new Map<string, number>();

  /** A new, empty registry: the member has started (again). */
  registry(member: MemberId): RpcRegistry {
    const registry = new Registry();
    this.#registries.set(member, registry);
    return registry;
  }

  /** From now on nothing reaches the member or leaves it; its streams break. */
  cut(member: MemberId): void {
    this.#cut.add(member);
    for (const stream of this.#streams) {
      if (stream.ends.includes(member)) stream.stop.abort(down());
    }
  }

  heal(member: MemberId): void {
    this.#cut.delete(member);
  }

  /** The two hear no more of each other. */
  part(one: MemberId, other: MemberId): void {
    this.#parted.add(`${one} ${other}`).add(`${other} ${one}`);
    for (const { ends, stop } of this.#streams) {
      if (ends.includes(one) && ends.includes(other)) stop.abort(down());
    }
  }

  links(from: MemberId): Links {
    return { peer: (to) => this.#peer(from, to), loads: () => this.loads };
  }

  #peer(from: MemberId, to: MemberId): Peer {
    const up = (): boolean =>
      !this.#cut.has(from) &&
      !this.#cut.has(to) &&
      !this.#parted.has(`${from} ${to}`) &&
      this.#registries.has(to);
    return {
      id: to,
      get up() {
        return up();
      },
      call: async (method, head, { signal }) => {
        this.counts.set(method, (this.counts.get(method) ?? 0) + 1);
        const handler = this.#registries.get(to)?.calls.get(method);
        if (!up() || handler === undefined) throw down();
        const reply = await handler({ from, head: copy(head), signal });
        if (!up()) throw down();
        return { head: copy(reply.head) };
      },
      stream: (method, head, { signal }) => this.#stream(from, to, method, head, signal, up),
      upload: () => Promise.reject(down()),
      send: (method, head) => {
        const handler = this.#registries.get(to)?.sends.get(method);
        if (up()) handler?.({ from, head: copy(head), signal: new AbortController().signal });
      },
      onChange: () => () => undefined,
    };
  }

  async *#stream(
    from: MemberId,
    to: MemberId,
    method: string,
    head: unknown,
    signal: AbortSignal,
    up: () => boolean,
  ): AsyncGenerator<RpcReply> {
    const handler = this.#registries.get(to)?.streams.get(method);
    if (!up() || handler === undefined) throw down();
    const entry = { ends: [from, to], stop: new AbortController() };
    this.#streams.add(entry);
    const both = AbortSignal.any([signal, entry.stop.signal]);
    try {
      for await (const { head: item } of handler({ from, head: copy(head), signal: both })) {
        if (!up()) throw down();
        yield { head: copy(item) };
      }
      both.throwIfAborted();
    } finally {
      this.#streams.delete(entry);
      entry.stop.abort();
    }
  }
}

function copy(head: unknown): unknown {
  return unpackValue(packValue(head));
}

function down(): MailError {
  return new MailError({ code: "UNAVAILABLE", why: "the link is down" });
}
