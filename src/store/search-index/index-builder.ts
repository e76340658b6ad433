// Brings the search index of one mailbox up to date: blocks of messages that are in none, blocks that
// are merged, and what is left of messages that went. Which mailbox, and when, is search-index.ts's.

import type { Random } from "../../lib/random.ts";
import { loadSummary } from "../blocks.ts";
import type { Engine } from "../engine.ts";
import { mailboxKey, table } from "../keyspace.ts";
import type { MailboxSummary } from "../mailbox-state.ts";
import { blockMessagesMax } from "./block.ts";
import type { Directory } from "./block.ts";
import { buildJob, mergeJob, unpackRows } from "./index-job.ts";
import type { RawMessage } from "./index-job.ts";
import type { MailboxPlace } from "./index-keys.ts";
import type { IndexRows } from "./index-rows.ts";
import type { IndexWorker } from "./index-worker.ts";
import { checkOf, spotsOf } from "./narrow.ts";
import { readRawMessages } from "./raw-messages.ts";

/** So much unindexed mail is worth a block; less is read through. */
export const tailMessages = 64;
export const tailBytes = 1024 * 1024;
/** A block that is made of messages. */
const batchMessages = 512;
const batchBytes = 2 * 1024 * 1024;
/** Messages that are read together. */
const readMessages = 64;
const readBytes = 1024 * 1024;
/** Blocks of one size that become one, and the most that it may have. */
const mergeBlocksMin = 8;
const mergedBytesMax = 8 * 1024 * 1024;
/** Blocks that are looked at between two turns of the event loop. */
const blocksAtOnce = 16;

export interface BuilderParts {
  readonly engine: Engine;
  readonly rows: IndexRows;
  readonly worker: IndexWorker;
  readonly random: Random;
}

/** What an update came to: messages that stay in no block, and all of the mailbox. */
export interface Updated {
  readonly left: number;
  readonly messages: number;
}

const nothing: Updated = { left: 0, messages: 0 };

/** Waits as long as the work since the last call asks for; rejects when the store closes. */
export type Rest = () => Promise<void>;

export class IndexBuilder {
  /** Messages put into blocks since the start. */
  messages = 0;
  /** Bytes of grams written for them, merges not counted. */
  bytes = 0;
  merges = 0;
  readonly #parts: BuilderParts;
  #nextBlock: number;

  constructor(parts: BuilderParts) {
    this.#parts = parts;
    // A number is not used again soon: who reads an old block must not take a new one's parts for its.
    this.#nextBlock = parts.random.u32();
  }

  /** @param whole also what is not yet worth a block. */
  async update(place: MailboxPlace, whole: boolean, rest: Rest): Promise<Updated> {
    const { engine, rows } = this.#parts;
    const key = mailboxKey(place.account, table.mailbox, place.mailbox);
    if ((await engine.rows.get(key)) === undefined) {
      await rows.clear(place);
      return nothing;
    }
    const held = engine.accounts.peek(place.account)?.mailboxes.get(place.mailbox)?.summary;
    const summary = held ?? (await loadSummary(engine.rows, place.account, place.mailbox));
    const directories = await rows.directories(place);
    if (directories === undefined) return nothing;
    const alive = new Map<number, number>();
    const missing = await this.#unindexed(summary, directories, alive);
    let at = 0;
    while (at < missing.length) {
      const next = await this.#read(place, summary, missing, at);
      const isRest = next.end === missing.length;
      if (isRest && !whole && next.read < tailMessages && next.bytes < tailBytes) break;
      at = next.end;
      if (next.messages.length > 0) await this.#build(place, next.messages);
      await rest();
    }
    await this.#tidy(place, summary, alive, rest);
    return { left: missing.length - at, messages: summary.columns.count };
  }

  /** UIDs of messages that no block has, ascending; `alive`: how many each block still has, by its number. */
  async #unindexed(
    { columns }: MailboxSummary,
    directories: readonly Directory[],
    alive: Map<number, number>,
  ): Promise<number[]> {
    const uids = columns.uids();
    const indexed = new Uint8Array(uids.length);
    for (const [at, directory] of directories.entries()) {
      let count = 0;
      for (const spot of spotsOf(directory, columns, uids)) {
        if (spot < 0) continue;
        indexed[spot] = 1;
        count++;
      }
      alive.set(directory.block, count);
      if (at % blocksAtOnce === blocksAtOnce - 1) await nextTurn();
    }
    const missing: number[] = [];
    for (const [at, uid] of uids.entries()) if (indexed[at] === 0) missing.push(uid);
    return missing;
  }

  /** The next messages for a block. */
  async #read(
    place: MailboxPlace,
    summary: MailboxSummary,
    uids: readonly number[],
    from: number,
  ): Promise<{ end: number; read: number; bytes: number; messages: RawMessage[] }> {
    const { engine } = this.#parts;
    const { columns } = summary;
    const messages: RawMessage[] = [];
    let textBytes = 0;
    let bytes = 0;
    let at = from;
    while (at < uids.length && at - from < batchMessages && textBytes < batchBytes) {
      const start = at;
      const end = Math.min(uids.length, start + readMessages, from + batchMessages);
      for (let size = 0; at < end && size < readBytes; at++) {
        const one = columns.size[columns.indexOf(uids[at] ?? 0)] ?? 0;
        bytes += one;
        // Larger ones are read in pieces, if at all.
        size += Math.min(one, engine.limits.inlineBytesMax);
      }
      for (const raw of await readRawMessages(engine, place, summary, uids.slice(start, at))) {
        for (const piece of raw.pieces) textBytes += piece.bytes.length;
        messages.push(raw);
      }
    }
    return { end: at, read: at - from, bytes, messages };
  }

  async #build(place: MailboxPlace, messages: readonly RawMessage[]): Promise<void> {
    const { rows, worker } = this.#parts;
    const block = this.#number();
    let packed: Uint8Array | undefined;
    try {
      packed = await worker.run(buildJob(place, block, messages));
    } catch {
      // The worker died of it: these are candidates always, so that it dies of them once.
      const unknown = messages.map((message) => ({ ...message, pieces: [] }));
      packed = await worker.run(buildJob(place, block, unknown));
    }
    if (packed === undefined) return;
    this.messages += messages.length;
    this.bytes += packed.length;
    await rows.replace(place, unpackRows(packed), []);
  }

  async #tidy(
    place: MailboxPlace,
    summary: MailboxSummary,
    alive: ReadonlyMap<number, number>,
    rest: Rest,
  ): Promise<void> {
    const { rows } = this.#parts;
    for (;;) {
      const directories = await rows.directories(place);
      const group = directories === undefined ? [] : groupToMerge(directories, alive);
      if (group.length === 0) return;
      const done = await this.#merge(place, summary, group);
      if (!done) return;
      await rest();
    }
  }

  /** False when there is nothing more to do here. */
  async #merge(
    place: MailboxPlace,
    summary: MailboxSummary,
    group: readonly Directory[],
  ): Promise<boolean> {
    const { rows, worker } = this.#parts;
    const { columns } = summary;
    const alive = new Map<number, number>();
    for (const { uids } of group) {
      for (const uid of uids) {
        const row = columns.indexOf(uid);
        if (row >= 0) alive.set(uid, checkOf(columns, row));
      }
    }
    if (alive.size === 0) {
      await rows.replace(place, [], group);
      return true;
    }
    const blocks = [];
    for (const { block } of group) {
      const whole = await rows.whole(place, block);
      if (whole === undefined) return false;
      blocks.push(whole);
    }
    const packed = await worker.run(mergeJob(place, this.#number(), alive, blocks));
    if (packed === undefined) {
      await rows.drop(place);
      return false;
    }
    this.merges++;
    await rows.replace(place, unpackRows(packed), group);
    return true;
  }

  #number(): number {
    this.#nextBlock = (this.#nextBlock + 1) % 2 ** 32;
    return this.#nextBlock;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Blocks to make one of: a block that is mostly gone, or several of one size.
 * @param alive how many messages old blocks still have; others have just been made.
 */
function groupToMerge(
  directories: readonly Directory[],
  alive: ReadonlyMap<number, number>,
): readonly Directory[] {
  const sizes: Directory[][] = [[], []];
  const ordered = directories.toSorted((a, b) => (a.uids[0] ?? 0) - (b.uids[0] ?? 0));
  for (const directory of ordered) {
    const all = directory.uids.length;
    if ((alive.get(directory.block) ?? all) * 2 < all) return [directory];
    if (all < batchMessages) sizes[0]?.push(directory);
    else if (all < blockMessagesMax) sizes[1]?.push(directory);
  }
  for (const same of sizes) {
    const group: Directory[] = [];
    let messages = 0;
    let bytes = 0;
    for (const directory of same) {
      messages += directory.uids.length;
      bytes += directory.bytes;
      if (messages > blockMessagesMax || bytes > mergedBytesMax) break;
      group.push(directory);
      if (group.length === mergeBlocksMin) return group;
    }
    // Blocks of long texts: fewer of them fill the largest.
    if (same.length >= mergeBlocksMin && group.length >= mergeBlocksMin / 2) return group;
  }
  return [];
}
