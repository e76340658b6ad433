// The mail node's side of every MailStore call: checks that this node serves the shard in the epoch
// the caller knows, before asking the store and again before answering. Forms are in methods-*.ts.

import { MailError, isMailError } from "../../mail/errors.ts";
import type { MailFailure } from "../../mail/errors.ts";
import {
  epoch as makeEpoch,
  modSeq,
  opId,
  shardId,
  shardMax,
  uid,
  uidMax,
} from "../../mail/ids.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import type { MailboxEvent, MaildropState, MailStore, Principal } from "../../mail/mail-store.ts";
import type { RpcRegistry, RpcReply, RpcRequest } from "../link/rpc.ts";
import { decodeFetch, encodeChunk, itemBytesMax } from "./codec-fetch.ts";
import { asMailboxId, decodePrincipal, encodeBlob } from "./codec-values.ts";
import { asArray, asCount, asHex32, asListOf, asOptional, asText, malformed } from "./decode.ts";
import { argsAt } from "./method.ts";
import type { Method } from "./method.ts";
import { appendMethod, deliverMethod } from "./methods-delivery.ts";
import {
  changesMethod,
  createMethod,
  deleteMethod,
  listMethod,
  openMethod,
  quotaMethod,
  renameMethod,
  statusMethod,
  subscribeMethod,
} from "./methods-mailbox.ts";
import {
  copyMethod,
  expungeMethod,
  moveMethod,
  searchMethod,
  storeMethod,
} from "./methods-message.ts";
import { confirmMethod, decodeConfirm, spoolMethod } from "./methods-spool.ts";

/** Streams and uploads, which have no Method. */
export const streamNames = {
  fetch: "mail.fetch",
  read: "mail.read",
  watch: "mail.watch",
  lock: "mail.lock",
  blob: "mail.blob",
} as const;

export interface ServeTest {
  serves(shard: ShardId): boolean;
  epochOf(shard: ShardId): Epoch | undefined;
}

type Asked = { readonly epoch: Epoch; readonly who: Principal; readonly args: readonly unknown[] };

/** Answers MailStore calls from gateways. Nothing is kept between calls but what the store keeps. */
export class MailService {
  readonly #store: MailStore;
  readonly #test: ServeTest;

  constructor(store: MailStore, test: ServeTest) {
    this.#store = store;
    this.#test = test;
  }

  /** Registers all methods; once, before the link server listens. */
  register(registry: RpcRegistry): void {
    const store = this.#store;
    // What was proposed is committed or expires by itself: a delivery isn't cancelled, its repetition
    // finds it by opId. Signals of its own would be a large part of what it costs.
    const never = new AbortController().signal;
    this.#add(
      registry,
      deliverMethod,
      (_, request, signal) => store.deliver(request, signal),
      never,
    );
    this.#add(registry, appendMethod, (who, request, signal) => store.append(who, request, signal));
    this.#add(registry, listMethod, (who, _request, signal) => store.listMailboxes(who, signal));
    this.#add(registry, statusMethod, (who, { name }, signal) =>
      store.mailboxStatus(who, name, signal),
    );
    this.#add(registry, createMethod, (who, request, signal) =>
      store.createMailbox(who, request, signal),
    );
    this.#add(registry, deleteMethod, (who, request, signal) =>
      store.deleteMailbox(who, request, signal),
    );
    this.#add(registry, renameMethod, (who, request, signal) =>
      store.renameMailbox(who, request, signal),
    );
    this.#add(registry, subscribeMethod, (who, request, signal) =>
      store.setSubscribed(who, request, signal),
    );
    this.#add(registry, openMethod, (who, request, signal) =>
      store.openMailbox(who, request, signal),
    );
    this.#add(registry, changesMethod, (who, request, signal) =>
      store.changes(who, request, signal),
    );
    this.#add(registry, quotaMethod, (who, _request, signal) => store.quota(who, signal));
    this.#add(registry, storeMethod, (who, request, signal) => store.store(who, request, signal));
    this.#add(registry, expungeMethod, (who, request, signal) =>
      store.expunge(who, request, signal),
    );
    this.#add(registry, copyMethod, (who, request, signal) => store.copy(who, request, signal));
    this.#add(registry, moveMethod, (who, request, signal) => store.move(who, request, signal));
    this.#add(registry, searchMethod, (who, request, signal) => store.search(who, request, signal));
    this.#add(
      registry,
      spoolMethod,
      ({ shard }, request, signal) => store.spool({ ...request, shard }, signal),
      never,
    );
    registry.onSend(confirmMethod, ({ head }) => {
      const { shard, deliveries } = decodeConfirm(head);
      store.confirm(shard, deliveries);
    });
    registry.onStream(streamNames.fetch, (request) => this.#fetch(request));
    registry.onStream(streamNames.read, (request) => this.#read(request));
    registry.onStream(streamNames.watch, (request) => this.#watch(request));
    registry.onStream(streamNames.lock, (request) => this.#lock(request));
    registry.onUpload(streamNames.blob, (request, chunks) => this.#blob(request, chunks));
  }

  #add<Request, Result>(
    registry: RpcRegistry,
    method: Method<Request, Result>,
    run: (who: Principal, request: Request, signal: AbortSignal) => Promise<Result>,
    detached?: AbortSignal,
  ): void {
    const answer = async (rpc: RpcRequest): Promise<RpcReply> => {
      const asked = this.#admit(rpc);
      const request = method.decode(asked.args, rpc.body);
      let result: Result;
      try {
        result = await run(asked.who, request, detached ?? rpc.signal);
      } catch (error) {
        // A refusal is an answer, too, and an outcome unknown here is asked of the next primary.
        if (isMailError(error)) this.#check(asked);
        throw error;
      }
      this.#check(asked);
      return method.encodeReply(result);
    };
    if (method.large) registry.onStream(method.name, (rpc) => pieces(answer(rpc)));
    else registry.onCall(method.name, answer);
  }

  /** The head's common part, if this node serves what it asks for. */
  #admit(rpc: RpcRequest): Asked {
    const fields = asArray(rpc.head, "head");
    const asked = {
      epoch: makeEpoch(asCount(fields[0], "epoch")),
      who: decodePrincipal(fields),
      args: fields.slice(argsAt),
    };
    this.#check(asked);
    return asked;
  }

  /** Also right before an answer: what was read or fsynced under an epoch counts in that epoch only. */
  #check({ epoch, who }: Asked): void {
    const { shard } = who;
    const held = this.#test.epochOf(shard);
    if (held === epoch && this.#test.serves(shard)) return;
    throw new MailError({
      code: "WRONG_NODE",
      shard,
      ...(held === undefined ? {} : { epoch: held }),
    });
  }

  async *#fetch(rpc: RpcRequest): AsyncGenerator<RpcReply, void, undefined> {
    const asked = this.#admit(rpc);
    try {
      for await (const chunk of this.#store.fetch(asked.who, decodeFetch(asked.args), rpc.signal)) {
        this.#check(asked);
        yield* encodeChunk(chunk);
      }
    } catch (error) {
      if (isMailError(error)) this.#check(asked);
      throw error;
    }
    this.#check(asked);
  }

  async *#read(rpc: RpcRequest): AsyncGenerator<RpcReply, void, undefined> {
    const asked = this.#admit(rpc);
    const request = {
      mailbox: asMailboxId(asked.args[0]),
      uid: uid(asCount(asked.args[1], "uid", uidMax)),
      offset: asCount(asked.args[2], "offset"),
    };
    try {
      for await (const bytes of this.#store.readMessage(asked.who, request, rpc.signal)) {
        this.#check(asked);
        for (let at = 0; at < bytes.byteLength; at += itemBytesMax) {
          yield { head: null, body: bytes.subarray(at, at + itemBytesMax) };
        }
      }
    } catch (error) {
      if (isMailError(error)) this.#check(asked);
      throw error;
    }
    this.#check(asked);
  }

  /** The first item says that from now on nothing is missed. */
  async *#watch(rpc: RpcRequest): AsyncGenerator<RpcReply, void, undefined> {
    const asked = this.#admit(rpc);
    const mailboxes =
      asked.args[0] === null ? "all" : asListOf(asked.args[0], "mailboxes", asMailboxId);
    // With the account in RAM the store registers a listener at once.
    await this.#store.quota(asked.who, rpc.signal);
    const events = this.#store.watch(asked.who, { mailboxes }, rpc.signal);
    const iterator = events[Symbol.asyncIterator]();
    let next = iterator.next();
    try {
      yield { head: null };
      for (let result = await next; result.done !== true; result = await next) {
        yield { head: encodeEvent(result.value) };
        next = iterator.next();
      }
    } finally {
      next.catch(() => undefined); // Reported by the loop, unless the caller has gone already.
      await iterator.return?.();
    }
  }

  /**
   * One item once the maildrop is held; it is held until the caller or its link is gone. Fails when
   * it is lost here.
   */
  async *#lock(rpc: RpcRequest): AsyncGenerator<RpcReply, void, undefined> {
    const asked = this.#admit(rpc);
    const holder = asOptional(asked.args[0], "holder", asHex32);
    const hold = new AbortController();
    const until = AbortSignal.any([rpc.signal, hold.signal]);
    let failure: MailFailure | undefined;
    try {
      const onState = (state: MaildropState): void => {
        if (state.kind !== "lost") return;
        failure = state.failure;
        hold.abort();
      };
      const name = holder === undefined ? undefined : opId(holder);
      await this.#store.lockMaildrop(asked.who, until, onState, name);
      this.#check(asked);
      yield { head: null };
      await aborted(until);
      if (failure !== undefined) throw new MailError(failure);
    } finally {
      hold.abort();
    }
  }

  async #blob(rpc: RpcRequest, chunks: AsyncIterable<Uint8Array>): Promise<RpcReply> {
    const asked = this.#admit(rpc);
    const id = asText(asked.args[0], "blob", 64);
    if (!/^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/.test(id)) throw malformed("blob");
    const blob = await this.#store.writeBlob(asked.who.shard, id, chunks, rpc.signal);
    this.#check(asked);
    return { head: encodeBlob(blob) };
  }
}

/** A long answer: the head comes with the first piece of the body. */
async function* pieces(reply: Promise<RpcReply>): AsyncGenerator<RpcReply, void, undefined> {
  const { head, body } = await reply;
  yield { head, ...(body === undefined ? {} : { body: body.subarray(0, itemBytesMax) }) };
  if (body === undefined) return;
  for (let at = itemBytesMax; at < body.byteLength; at += itemBytesMax) {
    yield { head: null, body: body.subarray(at, at + itemBytesMax) };
  }
}

const eventCodes = ["mailbox", "deleted", "list", "revoked"] as const;

function encodeEvent(event: MailboxEvent): readonly unknown[] {
  const code = eventCodes.indexOf(event.kind);
  switch (event.kind) {
    case "mailbox":
      return [code, event.mailbox, event.highestModSeq];
    case "deleted":
      return [code, event.mailbox];
    default:
      return [code];
  }
}

/** An item of a watch. @throws {MailError} INVALID */
export function decodeEvent(head: unknown): MailboxEvent {
  const fields = asArray(head, "event");
  const kind = eventCodes[asCount(fields[0], "event")];
  switch (kind) {
    case "mailbox": {
      const highestModSeq = modSeq(asCount(fields[2], "modseq"));
      return { kind, mailbox: asMailboxId(fields[1]), highestModSeq };
    }
    case "deleted":
      return { kind, mailbox: asMailboxId(fields[1]) };
    case "list":
    case "revoked":
      return { kind };
    default:
      throw malformed("event");
  }
}

/** The four fields in front of every request. */
export function headOf(epoch: Epoch, who: Principal, args: readonly unknown[]): readonly unknown[] {
  return [epoch, who.shard, who.account, who.credVersion, ...args];
}

/** For requests that name a shard only. */
export function shardPrincipal(shard: number): Principal {
  const fields = [0, asCount(shard, "shard", shardMax), 0, 0];
  return { ...decodePrincipal(fields), shard: shardId(shard) };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
