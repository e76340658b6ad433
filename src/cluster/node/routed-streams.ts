// FETCH, message bodies, watching and the POP3 lock over links that may break: each goes on where it
// stopped, at whoever is the primary then. Used by routed-mail-store.ts.

import { crc32c } from "../../lib/crc32c.ts";
import { MailError } from "../../mail/errors.ts";
import type { MailboxId, Uid } from "../../mail/ids.ts";
import type {
  FetchChunk,
  FetchRequest,
  MailboxEvent,
  MailboxListing,
  MaildropState,
  MailStore,
  Principal,
} from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { RpcReply } from "../link/rpc.ts";
import { decodeChunk, encodeFetch } from "./codec-fetch.ts";
import { malformed } from "./decode.ts";
import { pause } from "./follow-keys.ts";
import { decodeEvent, headOf, streamNames } from "./mail-service.ts";
import type { Budget, ShardCaller } from "./shard-caller.ts";

type Part = FetchChunk["parts"][number];

/** The stream of one try. */
async function* open(
  budget: Budget,
  method: string,
  who: Principal,
  args: readonly unknown[],
  signal: AbortSignal,
): AsyncGenerator<RpcReply, void, undefined> {
  const { peer, epoch } = await budget.primary(signal);
  yield* peer.stream(method, headOf(epoch, who, args), { signal });
}

/** Goes on behind the last whole message; inside one, behind the last byte handed out. */
export async function* routedFetch(
  caller: ShardCaller,
  who: Principal,
  request: FetchRequest,
  signal: AbortSignal,
): AsyncGenerator<FetchChunk, void, undefined> {
  const budget = caller.budget(who.shard);
  const progress = new FetchProgress();
  for (;;) {
    const uids = uidsFrom(request.uids, progress.nextUid);
    if (uids.length === 0) return;
    progress.restart();
    try {
      const args = encodeFetch({ ...request, uids });
      for await (const reply of open(budget, streamNames.fetch, who, args, signal)) {
        const parts = decodeChunk(reply).parts.flatMap((part) => progress.accept(part));
        budget.refill();
        if (parts.length > 0) yield { parts };
      }
      if (!progress.complete) throw new MailError({ code: "UNAVAILABLE", why: "message cut off" });
      return;
    } catch (error) {
      await budget.again(error, signal);
    }
  }
}

/** What was handed out of a FETCH. A message begun twice must begin with the same bytes. */
class FetchProgress {
  nextUid = 1;
  /** The message under way, how much of it was handed out, and the checksum of that. */
  #uid = 0;
  #bytes = 0;
  #checksum = 0;
  /** Of the message under way: bytes still to be skipped in this try, and their checksum. */
  #skip = 0;
  #skipped = 0;

  /** False inside a message. */
  get complete(): boolean {
    return this.#uid === 0;
  }

  restart(): void {
    this.#skip = this.#bytes;
    this.#skipped = 0;
  }

  /** The part without what was handed out before. */
  accept(part: Part): readonly Part[] {
    if (part.uid < this.nextUid) throw malformed("order of messages");
    if (this.#uid !== 0 && part.uid !== this.#uid) {
      throw new MailError({ code: "INVALID", why: "the message is gone, in the middle of it" });
    }
    const bytes = this.#skip === 0 ? part.bytes : this.#compare(part.bytes);
    if (part.more) {
      this.#uid = part.uid;
      this.#bytes += bytes.byteLength;
      this.#checksum = crc32c(bytes, this.#checksum);
      return bytes.byteLength === 0 ? [] : [{ ...part, bytes }];
    }
    if (this.#skip > 0) throw changed();
    this.nextUid = part.uid + 1;
    this.#uid = 0;
    this.#bytes = 0;
    this.#checksum = 0;
    return [{ ...part, bytes }];
  }

  #compare(bytes: Uint8Array): Uint8Array {
    const known = bytes.subarray(0, this.#skip);
    this.#skip -= known.byteLength;
    this.#skipped = crc32c(known, this.#skipped);
    if (this.#skip === 0 && this.#skipped !== this.#checksum) throw changed();
    return bytes.subarray(known.byteLength);
  }
}

/** Nothing can be said inside a literal: the session has to drop its connection. */
function changed(): MailError {
  return new MailError({ code: "INVALID", why: "the message changed while it was read" });
}

function uidsFrom(uids: UidSet, first: number): UidSet {
  const rest: number[] = [];
  for (let i = 0; i < uids.length; i += 2) {
    const high = uids[i + 1] ?? 0;
    if (high >= first) rest.push(Math.max(first, uids[i] ?? 0), high);
  }
  return rest;
}

export async function* routedRead(
  caller: ShardCaller,
  who: Principal,
  request: { readonly mailbox: MailboxId; readonly uid: Uid; readonly offset: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const budget = caller.budget(who.shard);
  let { offset } = request;
  for (;;) {
    try {
      const args = [request.mailbox, request.uid, offset];
      for await (const { body } of open(budget, streamNames.read, who, args, signal)) {
        if (body === undefined) continue;
        offset += body.byteLength;
        budget.refill();
        yield body;
      }
      return;
    } catch (error) {
      await budget.again(error, signal);
    }
  }
}

/** After each break everything watched is said to have changed: what was missed is asked for then. */
export async function* routedWatch(
  caller: ShardCaller,
  who: Principal,
  { mailboxes, listening }: Parameters<MailStore["watch"]>[1],
  list: () => Promise<MailboxListing>,
  signal: AbortSignal,
): AsyncGenerator<MailboxEvent, void, undefined> {
  const budget = caller.budget(who.shard);
  const args = [mailboxes === "all" ? null : mailboxes];
  for (let broken = false; !signal.aborted; broken = true) {
    try {
      let begun = false;
      for await (const { head } of open(budget, streamNames.watch, who, args, signal)) {
        budget.refill();
        if (begun) {
          yield decodeEvent(head);
          continue;
        }
        begun = true;
        listening?.();
        if (broken) yield* missed(mailboxes, await list());
      }
      throw new MailError({ code: "UNAVAILABLE", why: "the watch ended" });
    } catch (error) {
      if (signal.aborted) return;
      await budget.again(error, signal);
    }
  }
}

function* missed(
  mailboxes: readonly MailboxId[] | "all",
  listing: MailboxListing,
): Generator<MailboxEvent, void, undefined> {
  const modSeqs = new Map(listing.mailboxes.map((info) => [info.id, info.highestModSeq]));
  const watched = mailboxes === "all" ? [...modSeqs.keys()].filter((id) => id > 0) : mailboxes;
  for (const mailbox of watched) {
    const highestModSeq = modSeqs.get(mailbox);
    if (highestModSeq === undefined) yield { kind: "deleted", mailbox };
    else yield { kind: "mailbox", mailbox, highestModSeq };
  }
  yield { kind: "list" };
}

/** How long an own hold may outlive its broken link at the node, before IN_USE means another session. */
const ownHoldGoneMs = 5_000;
const inUsePauseMs = 100;

/** Resolves once the maildrop is held; from then on it is taken again after each break. */
export async function routedLock(
  caller: ShardCaller,
  who: Principal,
  signal: AbortSignal,
  onState: (state: MaildropState) => void = ignore,
): Promise<void> {
  const held = await takeLock(caller, who, signal);
  keepLock(caller, who, held, signal, onState).catch((error: unknown) => {
    if (signal.aborted) return;
    if (!(error instanceof MailError)) throw error; // Our bug: ends the process.
    onState({ kind: "lost", failure: error.failure });
  });
}

async function takeLock(
  caller: ShardCaller,
  who: Principal,
  signal: AbortSignal,
): Promise<AsyncIterator<RpcReply>> {
  const budget = caller.budget(who.shard);
  for (;;) {
    try {
      const lock = open(budget, streamNames.lock, who, [], signal);
      const first = await lock.next();
      if (first.done !== true) return lock;
      throw new MailError({ code: "UNAVAILABLE", why: "the maildrop was let go" });
    } catch (error) {
      await budget.again(error, signal);
    }
  }
}

/** Returns when `signal` aborts. @throws {MailError} why the maildrop is another's, or nobody's */
async function keepLock(
  caller: ShardCaller,
  who: Principal,
  first: AsyncIterator<RpcReply>,
  signal: AbortSignal,
  onState: (state: MaildropState) => void,
): Promise<void> {
  for (let lock = first; !signal.aborted; ) {
    try {
      await lock.next();
    } catch (error) {
      // Anything that another try would not mend ends the hold: takeLock decides.
      if (!(error instanceof MailError)) throw error;
    }
    if (signal.aborted) return;
    onState({ kind: "broken" });
    lock = await takeLockAgain(caller, who, signal);
    onState({ kind: "held" });
  }
}

/** The node may not have noticed yet that the link which held the lock is gone. */
async function takeLockAgain(
  caller: ShardCaller,
  who: Principal,
  signal: AbortSignal,
): Promise<AsyncIterator<RpcReply>> {
  const untilMs = caller.clock.monotonicMs() + ownHoldGoneMs;
  for (;;) {
    try {
      return await takeLock(caller, who, signal);
    } catch (error) {
      const inUse = error instanceof MailError && error.code === "IN_USE";
      if (!inUse || caller.clock.monotonicMs() > untilMs) throw error;
      await pause(caller.clock, inUsePauseMs, signal);
    }
  }
}

function ignore(): void {
  // Nobody asked to be told.
}
