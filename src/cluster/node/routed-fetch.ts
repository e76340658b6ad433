// FETCH and message bodies over links that may break: each goes on where it stopped, at whoever is
// the primary then. Inside a literal that is the byte behind the last one given, even when the message
// was expunged meanwhile. Used by routed-mail-store.ts.

import { crc32c } from "../../lib/crc32c.ts";
import { MailError } from "../../mail/errors.ts";
import { chunkOf, partsOf } from "../../mail/fetch-parts.ts";
import type { FetchPart } from "../../mail/fetch-parts.ts";
import type { MailboxId, Uid } from "../../mail/ids.ts";
import type { FetchChunk, FetchRequest, Principal } from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { RpcReply } from "../link/rpc.ts";
import { decodeChunk, encodeFetch } from "./codec-fetch.ts";
import { asArray, asBoolean, malformed } from "./decode.ts";
import { headOf, streamNames } from "./mail-service.ts";
import { isTooLong } from "./method.ts";
import type { Budget, ShardCaller } from "./shard-caller.ts";

/** The stream of one try. */
async function open(
  budget: Budget,
  method: string,
  who: Principal,
  args: readonly unknown[],
  signal: AbortSignal,
): Promise<AsyncIterable<RpcReply>> {
  const { peer, epoch } = await budget.primary(signal);
  return peer.stream(method, headOf(epoch, who, args), { signal });
}

/** Goes on behind the last whole message; inside one, behind the last byte handed out. */
export async function* routedFetch(
  caller: ShardCaller,
  who: Principal,
  request: FetchRequest,
  signal: AbortSignal,
): AsyncGenerator<FetchChunk, void, undefined> {
  if (isFew(request.uids)) {
    const chunk = await fetchFew(caller, who, request, signal);
    if (chunk !== undefined) {
      if (chunk.uids.length > 0) yield chunk;
      return;
    }
  }
  const budget = caller.budget(who.shard);
  const progress = new FetchProgress();
  for (;;) {
    const { cut } = progress;
    const wanted = cut === undefined ? behind(request, progress.nextUid) : restOf(request, cut);
    if (wanted.uids.length === 0) return;
    const rest = cut === undefined ? undefined : new RestOfMessage(cut);
    let begun = false;
    try {
      const stream = await open(budget, streamNames.fetch, who, encodeFetch(wanted), signal);
      for await (const reply of stream) {
        begun = true;
        const chunk = decodeChunk(reply);
        const fresh = rest === undefined ? chunk : rest.withoutKnown(chunk);
        progress.note(fresh);
        if (fresh.uids.length > 0) yield fresh;
      }
      if (progress.cut !== undefined) throw gone();
      if (rest === undefined) return;
    } catch (error) {
      // The time to find the next primary begins when this one is lost.
      if (begun) budget.refill();
      await budget.again(error, signal);
    }
  }
}

/** So many messages are asked for by a call, which costs less than a stream. */
const fewMax = 8;

function isFew(uids: UidSet): boolean {
  let count = 0;
  for (let i = 0; i < uids.length; i += 2) count += (uids[i + 1] ?? 0) - (uids[i] ?? 0) + 1;
  return count <= fewMax;
}

/** The whole answer; undefined when it is too long for one frame. */
async function fetchFew(
  caller: ShardCaller,
  who: Principal,
  request: FetchRequest,
  signal: AbortSignal,
): Promise<FetchChunk | undefined> {
  const args = encodeFetch(request);
  try {
    return await caller.run(who.shard, signal, async (peer, epoch, _retry, deadlineMs) => {
      const head = headOf(epoch, who, args);
      return decodeChunk(await peer.call(streamNames.fetchFew, head, { signal, deadlineMs }));
    });
  } catch (error) {
    if (isTooLong(error)) return undefined;
    throw error;
  }
}

/** What was handed out of a message that is not complete. */
interface Cut {
  readonly uid: number;
  /** Only what is behind this is counted: sections never change, flags do. */
  readonly inSections: boolean;
  readonly bytes: number;
  readonly checksum: number;
}

/** How far a FETCH has come. */
class FetchProgress {
  nextUid = 1;
  cut: Cut | undefined;

  note({ uids, ends, bytes, more, sectionsAt }: FetchChunk): void {
    const last = uids.length - 1;
    const first = uids[0];
    if (first === undefined) return;
    if (first < this.nextUid) throw malformed("order of messages");
    if (this.cut !== undefined && first !== this.cut.uid) throw gone();
    const uid = uids[last] ?? 0;
    if (!more) {
      this.nextUid = uid + 1;
      this.cut = undefined;
      return;
    }
    const cut = this.cut?.uid === uid ? this.cut : { inSections: false, bytes: 0, checksum: 0 };
    const begins = sectionsAt !== undefined && !cut.inSections;
    const from = (ends[last - 1] ?? 0) + (begins ? sectionsAt : 0);
    const counted = bytes.subarray(from, ends[last]);
    this.cut = {
      uid,
      inSections: begins || cut.inSections,
      bytes: counted.byteLength + (begins ? 0 : cut.bytes),
      checksum: crc32c(counted, begins ? 0 : cut.checksum),
    };
  }
}

/** Takes what was handed out before from a message that is read again; it must be the same. */
class RestOfMessage {
  readonly #cut: Cut;
  #skip: number;
  #skipped = 0;
  #isFirst = true;

  constructor(cut: Cut) {
    this.#cut = cut;
    this.#skip = cut.bytes;
  }

  withoutKnown(chunk: FetchChunk): FetchChunk {
    return chunkOf(partsOf(chunk).flatMap((part) => this.#withoutKnown(part)));
  }

  #withoutKnown({ uid, bytes, more, sectionsAt }: FetchPart): readonly FetchPart[] {
    if (uid !== this.#cut.uid) throw gone();
    // A message that comes whole this time has no mark: its sections begin behind its UID.
    const from = this.#isFirst && this.#cut.inSections ? (sectionsAt ?? uidEnd(bytes)) : 0;
    this.#isFirst = false;
    const known = bytes.subarray(from, from + this.#skip);
    this.#skip -= known.byteLength;
    this.#skipped = crc32c(known, this.#skipped);
    if (this.#skip === 0 && this.#skipped !== this.#cut.checksum) throw changed();
    if (this.#skip > 0 && !more) throw changed();
    const at = from + known.byteLength;
    const fresh = { uid: uid, bytes: bytes.subarray(at), more };
    if (more && fresh.bytes.byteLength === 0) return [];
    const mark = this.#cut.inSections || sectionsAt === undefined ? -1 : sectionsAt - at;
    return [mark < 0 ? fresh : { sectionsAt: mark, ...fresh }];
  }
}

function behind(request: FetchRequest, first: number): FetchRequest {
  return first === 1 ? request : { ...request, uids: uidsFrom(request.uids, first) };
}

/** In its sections a message goes on by them alone; else (a long ENVELOPE) all of it must be equal. */
function restOf(request: FetchRequest, { uid, inSections }: Cut): FetchRequest {
  const uids = [uid, uid];
  if (!inSections) return { ...request, uids };
  const { mailbox, items } = request;
  return { mailbox, uids, items: { sections: items.sections ?? [] }, evenGone: true };
}

function uidsFrom(uids: UidSet, first: number): UidSet {
  const rest: number[] = [];
  for (let i = 0; i < uids.length; i += 2) {
    const high = uids[i + 1] ?? 0;
    if (high >= first) rest.push(Math.max(first, uids[i] ?? 0), high);
  }
  return rest;
}

/** Where `UID n` ends. */
function uidEnd(bytes: Uint8Array): number {
  const end = bytes.indexOf(0x20, 4);
  return end < 0 ? bytes.byteLength : end;
}

/** Nothing can be said inside a literal: with these the session has to drop its connection. */
function gone(): MailError {
  return new MailError({ code: "INVALID", why: "the message is gone, in the middle of it" });
}
function changed(): MailError {
  return new MailError({ code: "INVALID", why: "the message changed while it was read" });
}

/** The bytes of one message. Behind its first piece it goes on, even when the message is gone. */
export async function* routedRead(
  caller: ShardCaller,
  who: Principal,
  request: { readonly mailbox: MailboxId; readonly uid: Uid; readonly offset: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { mailbox, uid } = request;
  const first = await caller.run(who.shard, signal, (peer, epoch, _retry, deadlineMs) => {
    const head = headOf(epoch, who, [mailbox, uid, request.offset]);
    return peer.call(streamNames.readFirst, head, { signal, deadlineMs });
  });
  const bytes = first.body ?? new Uint8Array(0);
  if (bytes.byteLength > 0) yield bytes;
  if (asBoolean(asArray(first.head, "beginning")[0], "all")) return;
  const budget = caller.budget(who.shard);
  let offset = request.offset + bytes.byteLength;
  for (;;) {
    let begun = false;
    try {
      const args = [mailbox, uid, offset];
      for await (const { body } of await open(budget, streamNames.read, who, args, signal)) {
        if (body === undefined) continue;
        begun = true;
        offset += body.byteLength;
        yield body;
      }
      return;
    } catch (error) {
      if (begun) budget.refill();
      await budget.again(error, signal);
    }
  }
}
