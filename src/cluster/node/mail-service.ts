// The mail node's side of every MailStore call: checks that this node serves the shard in the epoch
// the caller knows, before asking the store and again before answering. Forms are in methods-*.ts.

import { setMaxListeners } from "node:events";
import { MailError, isMailError } from "../../mail/errors.ts";
import type { MailFailure } from "../../mail/errors.ts";
import { joinedChunks } from "../../mail/fetch-parts.ts";
import { epoch as makeEpoch, opId, shardId, shardMax, uid, uidMax } from "../../mail/ids.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import type { FetchChunk, MaildropState, MailStore, Principal } from "../../mail/mail-store.ts";
import type { MemberStates } from "../../mail/member-states.ts";
import type { RpcRegistry, RpcReply, RpcRequest } from "../link/rpc.ts";
import { decodeFetch, encodeChunk, formOf, itemBytesMax } from "./codec-fetch.ts";
import { encodeEvent } from "./codec-events.ts";
import { asMailboxId, decodePrincipal, encodeBlob } from "./codec-values.ts";
import { asArray, asCount, asHex32, asListOf, asOptional, asText, malformed } from "./decode.ts";
import { argsAt, streamOf, tooLong } from "./method.ts";
import type { Method } from "./method.ts";
import { appendMethod, deliverMethod } from "./methods-delivery.ts";
import {
  changesMethod,
  createMethod,
  deleteMethod,
  listMethod,
  openGapsMethod,
  openMethod,
  quotaMethod,
  renameMethod,
  statusMethod,
  subscribeMethod,
} from "./methods-mailbox.ts";
import { copyMethod, expungeMethod, moveMethod, storeMethod } from "./methods-message.ts";
import { flagsMethod } from "./method-flags.ts";
import { searchMethod } from "./method-search.ts";
import { annotateMethod, annotationsMethod } from "./methods-annotations.ts";
import { changeReadStateMethod, readGroupsMethod } from "./methods-group.ts";
import { confirmMethod, decodeConfirm, spoolMethod } from "./methods-spool.ts";

/** Streams and uploads, which have no Method. */
export const streamNames = {
  fetch: "mail.fetch",
  /** FETCH of few messages, as a call. */
  fetchFew: "mail.fetchFew",
  read: "mail.read",
  /** The beginning of a message, as a call; all of most. */
  readFirst: "mail.readFirst",
  watch: "mail.watch",
  lock: "mail.lock",
  blob: "mail.blob",
} as const;

export interface ServeTest {
  serves(shard: ShardId): boolean;
  epochOf(shard: ShardId): Epoch | undefined;
}

/** Few messages, or the beginning of one, in one frame. */
const fewBytesMax = 256 * 1024;
const noBytes = new Uint8Array(0);
/** For what ends by itself: signals of their own would be a large part of what small requests cost. */
const never = new AbortController().signal;
setMaxListeners(0, never);

type Asked = { readonly epoch: Epoch; readonly who: Principal; readonly args: readonly unknown[] };

/** Answers MailStore calls from gateways. Nothing is kept between calls but what the store keeps. */
export class MailService {
  readonly #store: MailStore & Partial<MemberStates>;
  readonly #test: ServeTest;

  constructor(store: MailStore & Partial<MemberStates>, test: ServeTest) {
    this.#store = store;
    this.#test = test;
  }

  /** Registers all methods; once, before the link server listens. */
  register(registry: RpcRegistry): void {
    const store = this.#store;
    this.#add(registry, deliverMethod, (_, request, signal) => {
      if (request.confirmed !== undefined) store.confirm(request.shard, request.confirmed);
      return store.deliver(request, signal);
    });
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
    for (const method of [openMethod, openGapsMethod]) {
      this.#add(registry, method, (who, request, signal) =>
        store.openMailbox(who, request, signal),
      );
    }
    this.#add(registry, changesMethod, (who, request, signal) =>
      store.changes(who, request, signal),
    );
    this.#add(registry, flagsMethod, (who, request, signal) => store.flags(who, request, signal));
    this.#add(registry, annotationsMethod, (who, request, signal) =>
      store.annotations(who, request, signal),
    );
    this.#add(registry, annotateMethod, (who, request, signal) =>
      store.annotate(who, request, signal),
    );
    this.#add(registry, quotaMethod, (who, _request, signal) => store.quota(who, signal));
    this.#add(registry, storeMethod, (who, request, signal) => store.store(who, request, signal));
    this.#add(registry, expungeMethod, (who, request, signal) =>
      store.expunge(who, request, signal),
    );
    this.#add(registry, copyMethod, (who, request, signal) => store.copy(who, request, signal));
    this.#add(registry, moveMethod, (who, request, signal) => store.move(who, request, signal));
    this.#add(
      registry,
      searchMethod,
      (who, request, signal) => store.search(who, request, signal),
      true,
    );
    this.#add(registry, spoolMethod, ({ shard }, request, signal) =>
      store.spool({ ...request, shard }, signal),
    );
    this.#registerGroups(registry);
    registry.onSend(confirmMethod, ({ head }) => {
      const { shard, deliveries } = decodeConfirm(head);
      store.confirm(shard, deliveries);
    });
    registry.onStream(streamNames.fetch, (request) => this.#fetch(request));
    registry.onCall(streamNames.fetchFew, (request) => this.#fetchFew(request));
    registry.onStream(streamNames.read, (request) => this.#read(request));
    registry.onCall(streamNames.readFirst, (request) => this.#readFirst(request));
    registry.onStream(streamNames.watch, (request) => this.#watch(request));
    registry.onStream(streamNames.lock, (request) => this.#lock(request));
    registry.onUpload(streamNames.blob, (request, chunks) => this.#blob(request, chunks));
  }

  #registerGroups(registry: RpcRegistry): void {
    const { readGroups, changeReadState } = this.#store;
    if (readGroups === undefined || changeReadState === undefined) return;
    this.#add(registry, readGroupsMethod, readGroups.bind(this.#store));
    this.#add(registry, changeReadStateMethod, changeReadState.bind(this.#store));
  }

  /**
   * What was proposed is committed or expires by itself, and reads are short: only what is
   * `cancellable` ends when the caller goes; repeated changes are found by their opId.
   */
  #add<Request, Result>(
    registry: RpcRegistry,
    method: Method<Request, Result>,
    run: (who: Principal, request: Request, signal: AbortSignal) => Promise<Result>,
    cancellable = false,
  ): void {
    const answer = async (rpc: RpcRequest): Promise<RpcReply> => {
      const asked = this.#admit(rpc);
      const request = method.decode(asked.args, rpc.body);
      let result: Result;
      try {
        result = await run(asked.who, request, cancellable ? rpc.signal : never);
      } catch (error) {
        // A refusal is an answer, too, and an outcome unknown here is asked of the next primary.
        if (isMailError(error)) this.#check(asked);
        throw error;
      }
      this.#check(asked);
      return method.encodeReply(result);
    };
    if (!method.large) return registry.onCall(method.name, answer);
    registry.onStream(streamOf(method), (rpc) => pieces(answer(rpc)));
    registry.onCall(method.name, async (rpc) => {
      const reply = await answer(rpc);
      if ((reply.body?.byteLength ?? 0) > itemBytesMax) throw tooLong(itemBytesMax);
      return reply;
    });
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
        yield* encodeChunk(chunk, formOf(asked.args));
      }
    } catch (error) {
      if (isMailError(error)) this.#check(asked);
      throw error;
    }
    this.#check(asked);
  }

  /** All of an answer, if it is short; else the caller takes the stream. */
  async #fetchFew(rpc: RpcRequest): Promise<RpcReply> {
    const asked = this.#admit(rpc);
    const chunks: FetchChunk[] = [];
    let bytes = 0;
    try {
      const request = decodeFetch(asked.args);
      for await (const chunk of this.#store.fetch(asked.who, request, never)) {
        bytes += chunk.bytes.byteLength;
        chunks.push(chunk);
        if (bytes > fewBytesMax) throw tooLong(fewBytesMax);
      }
    } catch (error) {
      if (isMailError(error)) this.#check(asked);
      // What comes before a failure is to be told before it.
      throw chunks.length > 0 && isMailError(error) ? tooLong(fewBytesMax) : error;
    }
    this.#check(asked);
    const [reply = { head: [[], []] }] = encodeChunk(joinedChunks(chunks), formOf(asked.args));
    return reply;
  }

  /** Bytes from an offset on, and whether these are all there are. */
  async #readFirst(rpc: RpcRequest): Promise<RpcReply> {
    const asked = this.#admit(rpc);
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    let isAll = true;
    try {
      for await (const piece of this.#store.readMessage(
        asked.who,
        readRequest(asked.args),
        never,
      )) {
        pieces.push(piece);
        bytes += piece.byteLength;
        isAll = bytes < fewBytesMax;
        if (!isAll) break;
      }
    } catch (error) {
      if (isMailError(error)) this.#check(asked);
      throw error;
    }
    this.#check(asked);
    const [only = noBytes] = pieces;
    return { head: [isAll], body: pieces.length <= 1 ? only : Buffer.concat(pieces) };
  }

  async *#read(rpc: RpcRequest): AsyncGenerator<RpcReply, void, undefined> {
    const asked = this.#admit(rpc);
    const request = readRequest(asked.args);
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
    const { shard } = asked.who;
    const blob = await this.#store.writeBlob(shard, id, chunks, rpc.signal);
    // Nothing is shown or promised yet: in another epoch members that lack the blob will ask for it.
    if (!this.#test.serves(shard)) this.#check(asked);
    return { head: encodeBlob(blob) };
  }
}

function readRequest(args: readonly unknown[]) {
  return {
    mailbox: asMailboxId(args[0]),
    uid: uid(asCount(args[1], "uid", uidMax)),
    offset: asCount(args[2], "offset"),
  };
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
