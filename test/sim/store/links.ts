// Links of one simulated process: calls, streams and uploads over the simulated network, with values
// packed as on the wire. Credits are a number of items; frames and sockets have tests of their own.

import { AssertionFailure } from "../../../src/lib/assert.ts";
import { MailError } from "../../../src/mail/errors.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type {
  CallOptions,
  Links,
  Peer,
  RpcReply,
  RpcRequest,
} from "../../../src/cluster/link/rpc.ts";
import {
  decodeFailure,
  failureOf,
  packValue,
  unpackValue,
} from "../../../src/cluster/link/wire-value.ts";
import type { Life } from "../world/life.ts";
import type { Machine } from "../world/machine.ts";
import { Pipe } from "./pipe.ts";
import type { StoreCluster } from "./world.ts";

type Kind = "call" | "stream" | "upload";

/** One request, at the asking end. */
interface Ask {
  readonly resolve: (reply: RpcReply) => void;
  readonly fail: (error: MailError) => void;
  readonly items: Pipe<RpcReply> | undefined;
  /** Room for pieces of an upload. */
  readonly taken: () => void;
}

/** The same request, at the answering end. */
interface Served {
  readonly from: MemberId;
  readonly controller: AbortController;
  readonly pieces: Pipe<Uint8Array>;
  /** The asking end has taken an item. */
  readonly gate: Pipe<true>;
}

const callMs = 30_000;
const itemsAhead = 8;

export class SimLinks implements Links {
  readonly registry = new MethodRegistry();
  readonly world: StoreCluster;
  readonly machine: Machine;
  readonly life: Life;
  /** Sees each answer of this process before it leaves. */
  answered: (method: string, head: unknown) => void = () => undefined;
  readonly #peers = new Map<MemberId, SimPeer>();
  readonly #up = new Set<MemberId>();
  readonly #served = new Map<Ask, Served>();

  constructor(world: StoreCluster, machine: Machine, life: Life) {
    this.world = world;
    this.machine = machine;
    this.life = life;
  }

  peer(id: MemberId): SimPeer {
    let peer = this.#peers.get(id);
    if (peer === undefined) this.#peers.set(id, (peer = new SimPeer(this, id)));
    return peer;
  }

  loads(): ReadonlyMap<MemberId, unknown> {
    return new Map();
  }

  isUp(id: MemberId): boolean {
    return this.#up.has(id);
  }

  get linked(): readonly MemberId[] {
    return [...this.#up];
  }

  changed(id: MemberId, up: boolean): void {
    this.world.busy = true;
    if (up) this.#up.add(id);
    else this.#up.delete(id);
    if (!up) {
      for (const [ask, served] of this.#served) {
        if (served.from !== id) continue;
        this.#served.delete(ask);
        this.#end(served);
      }
    }
    this.#peers.get(id)?.changed(up);
  }

  #end(served: Served): void {
    served.controller.abort(new MailError({ code: "UNAVAILABLE", why: "the link is gone" }));
    served.pieces.fail(new MailError({ code: "UNAVAILABLE", why: "the link is gone" }));
    served.gate.end();
  }

  /** A request arrives. */
  ask(from: Machine, ask: Ask, kind: Kind, name: string, head: Uint8Array, body?: Buffer): void {
    const method = this.registry.method(name);
    const controller = new AbortController();
    const served: Served = {
      from: from.member,
      controller,
      pieces: new Pipe(() => this.#tell(from, () => ask.taken())),
      gate: new Pipe(() => undefined),
    };
    for (let room = 0; room < itemsAhead; room++) served.gate.push(true);
    const value = unpackValue(head);
    const request: RpcRequest = {
      from: from.member,
      head: value,
      signal: controller.signal,
      ...(body === undefined ? {} : { body }),
    };
    this.#served.set(ask, served);
    const run = async (): Promise<RpcReply> => {
      if (method?.kind === "call" && kind === "call") return method.handle(request);
      if (method?.kind === "upload" && kind === "upload") {
        return method.handle(request, served.pieces);
      }
      if (method?.kind !== "stream" || kind !== "stream") {
        throw new MailError({ code: "INVALID", why: `unknown method ${name}` });
      }
      for await (const item of method.handle(request)) {
        if ((await served.gate.next()).done === true) break;
        this.answered(name, value);
        const { head: itemHead, body: itemBody } = wired(item);
        this.#tell(from, () => ask.items?.push(unwired(itemHead, itemBody)));
      }
      return { head: null };
    };
    run().then(
      (reply) => {
        if (!this.#served.delete(ask) || !this.life.alive) return;
        this.answered(name, value);
        const { head: replyHead, body: replyBody } = wired(reply);
        this.#tell(from, () => ask.resolve(unwired(replyHead, replyBody)));
      },
      (error: unknown) => {
        if (!this.#served.delete(ask) || !this.life.alive) return;
        if (error instanceof AssertionFailure) this.world.failed(error);
        const failure = failureOf(error) ?? {
          code: "UNAVAILABLE",
          why: `failed: ${String(error)}`,
        };
        const packed = packValue(failure);
        this.#tell(from, () => ask.fail(new MailError(decodeFailure(unpackValue(packed)))));
      },
    );
  }

  /** A frame without an answer. */
  sent(from: Machine, name: string, head: Uint8Array, body?: Buffer): void {
    const method = this.registry.method(name);
    if (method?.kind !== "send") return;
    const { signal } = new AbortController();
    const request = { from: from.member, head: unpackValue(head), signal };
    method.handle(body === undefined ? request : { ...request, body });
  }

  piece(ask: Ask, bytes: Buffer | undefined): void {
    const served = this.#served.get(ask);
    if (bytes === undefined) served?.pieces.end();
    else served?.pieces.push(bytes);
  }

  itemTaken(ask: Ask): void {
    this.#served.get(ask)?.gate.push(true);
  }

  cancel(ask: Ask): void {
    const served = this.#served.get(ask);
    if (served === undefined) return;
    this.#served.delete(ask);
    this.#end(served);
  }

  #tell(to: Machine, run: () => void): void {
    this.world.network.send(this.machine, to, () => {
      this.world.busy = true;
      run();
    });
  }
}

class SimPeer implements Peer {
  readonly id: MemberId;
  readonly #links: SimLinks;
  readonly #listeners = new Set<(up: boolean) => void>();
  readonly #asks = new Set<Ask>();

  constructor(links: SimLinks, id: MemberId) {
    this.#links = links;
    this.id = id;
  }

  get up(): boolean {
    return this.#links.isUp(this.id);
  }

  onChange(listener: (up: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(up: boolean): void {
    if (!up) {
      // Each leaves the set as it fails.
      for (const ask of this.#asks) {
        ask.fail(new MailError({ code: "UNAVAILABLE", why: `the link to ${this.id} broke` }));
      }
    }
    for (const listener of new Set(this.#listeners)) listener(up);
  }

  send(method: string, head: unknown, body?: Uint8Array): void {
    const packed = packValue(head);
    const bytes = body === undefined ? undefined : Buffer.from(body);
    this.#tell((links, me) => links.sent(me, method, packed, bytes));
  }

  call(method: string, head: unknown, options: CallOptions): Promise<RpcReply> {
    return new Promise((resolve, reject) => {
      const ask = this.#ask(resolve, reject, options, undefined, () => undefined);
      this.#post("call", ask, method, head, options.body);
    });
  }

  async *stream(method: string, head: unknown, options: CallOptions): AsyncIterable<RpcReply> {
    const items: Pipe<RpcReply> = new Pipe(() => this.#tell((links) => links.itemTaken(ask)));
    const done = () => items.end();
    const ask = this.#ask(
      done,
      (error) => items.fail(error),
      options,
      items,
      () => undefined,
    );
    this.#post("stream", ask, method, head, options.body);
    try {
      yield* items;
    } finally {
      if (this.#asks.delete(ask)) this.#tell((links) => links.cancel(ask));
    }
  }

  upload(
    method: string,
    head: unknown,
    chunks: AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal },
  ): Promise<RpcReply> {
    return new Promise((resolve, reject) => {
      const room: Pipe<true> = new Pipe(() => undefined);
      for (let count = 0; count < itemsAhead; count++) room.push(true);
      const failed = (error: MailError) => {
        room.end();
        reject(error);
      };
      const answered = (reply: RpcReply) => {
        room.end();
        resolve(reply);
      };
      const ask = this.#ask(answered, failed, options, undefined, () => room.push(true));
      this.#post("upload", ask, method, head);
      this.#pour(ask, chunks, room).catch((error: unknown) => {
        this.#tell((links) => links.cancel(ask));
        ask.fail(
          error instanceof MailError
            ? error
            : new MailError({ code: "UNAVAILABLE", why: "the body failed" }, { cause: error }),
        );
      });
    });
  }

  async #pour(ask: Ask, chunks: AsyncIterable<Uint8Array>, room: Pipe<true>): Promise<void> {
    for await (const chunk of chunks) {
      if ((await room.next()).done === true) return;
      const bytes = Buffer.from(chunk);
      this.#tell((links) => links.piece(ask, bytes));
    }
    this.#tell((links) => links.piece(ask, undefined));
  }

  #ask(
    resolve: (reply: RpcReply) => void,
    reject: (error: MailError) => void,
    { signal, deadlineMs = callMs }: { readonly signal: AbortSignal; readonly deadlineMs?: number },
    items: Pipe<RpcReply> | undefined,
    taken: () => void,
  ): Ask {
    const { life, world } = this.#links;
    const cancel = (why: string) => () => {
      if (!this.#asks.has(ask)) return;
      this.#tell((links) => links.cancel(ask));
      ask.fail(new MailError({ code: "UNAVAILABLE", why }));
    };
    const cancelled = cancel("cancelled");
    const end = (): boolean => {
      signal.removeEventListener("abort", cancelled);
      return this.#asks.delete(ask);
    };
    const ask: Ask = {
      resolve: (reply) => {
        if (end()) resolve(reply);
      },
      fail: (error) => {
        if (end()) reject(error);
      },
      items,
      taken,
    };
    this.#asks.add(ask);
    signal.addEventListener("abort", cancelled, { once: true });
    if (items === undefined) {
      life.main.after(deadlineMs, () => {
        world.busy = true;
        cancel("no answer in time")();
      });
    }
    return ask;
  }

  #post(kind: Kind, ask: Ask, method: string, head: unknown, body?: Uint8Array): void {
    const packed = packValue(head);
    const bytes = body === undefined ? undefined : Buffer.from(body);
    const sent = this.#tell((links, me) => links.ask(me, ask, kind, method, packed, bytes));
    if (!sent) ask.fail(new MailError({ code: "UNAVAILABLE", why: `no link to ${this.id}` }));
  }

  #tell(run: (links: SimLinks, me: Machine) => void): boolean {
    const { world, machine, life } = this.#links;
    const peer = world.machineOf(this.id);
    if (peer === undefined || !life.alive || !this.up) return false;
    return world.network.send(machine, peer, () => {
      world.busy = true;
      const links = world.linksOf(peer);
      if (links !== undefined) run(links, machine);
    });
  }
}

function wired({ head, body }: RpcReply) {
  return { head: packValue(head), body: body === undefined ? undefined : Buffer.from(body) };
}

function unwired(head: Uint8Array, body: Buffer | undefined): RpcReply {
  const value = unpackValue(head);
  return body === undefined ? { head: value } : { head: value, body };
}
