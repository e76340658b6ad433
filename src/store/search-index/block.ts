// Blocks of the search index: some messages of one mailbox with all their grams, as rows that are
// written once. Made of messages or of smaller blocks, by pure functions that run in a worker.

import { assert } from "../../lib/assert.ts";
import { beginRow, endRow, payloadOf, rowHeaderBytes, rowIsSound } from "../row.ts";
import { directoryKey, partKey } from "./index-keys.ts";
import type { MailboxPlace } from "./index-keys.ts";
import { PartReader, PartWriter } from "./postings.ts";

/** A row of the index's LevelDB. */
export type Row = readonly [key: Buffer, value: Buffer];

/** What a block's directory row says. Messages are numbered by ascending UID. */
export interface Directory {
  readonly block: number;
  readonly uids: Uint32Array;
  /** What each message was when it was read, by `messageCheck`. */
  readonly checks: Uint32Array;
  /** Messages of which the grams are not known: candidates always. */
  readonly unknown: readonly number[];
  /** First gram of each part, ascending. */
  readonly firsts: Uint32Array;
  /** Of all parts. */
  readonly bytes: number;
}

/** A message on its way into a block; without grams it is a candidate for every search. */
export interface IndexedMessage {
  readonly uid: number;
  readonly check: number;
  readonly grams: Uint32Array | undefined;
}

/** A block read back: its directory and its parts, in order. */
export interface WholeBlock {
  readonly directory: Directory;
  readonly parts: readonly Buffer[];
}

/** Message numbers in a block are below this. */
export const blockMessagesMax = 4096;

/** Rows of a new block, the directory last. `messages` ascend by UID. */
export function buildBlock(
  place: MailboxPlace,
  block: number,
  messages: readonly IndexedMessage[],
): Row[] {
  assert(messages.length <= blockMessagesMax, "a block has a bounded number of messages");
  let count = 0;
  for (const { grams } of messages) count += grams?.length ?? 0;
  // gram × 4096 + number of the message: one sort brings both in order.
  const pairs = new Float64Array(count);
  let next = 0;
  for (const [doc, { grams }] of messages.entries()) {
    for (const gram of grams ?? []) pairs[next++] = gram * blockMessagesMax + doc;
  }
  pairs.sort();
  const writer = new PartWriter(messages.length);
  const docs = new Uint32Array(messages.length);
  for (let at = 0; at < pairs.length; ) {
    const gram = Math.floor((pairs[at] ?? 0) / blockMessagesMax);
    const start = gram * blockMessagesMax;
    let size = 0;
    for (; at < pairs.length && (pairs[at] ?? 0) < start + blockMessagesMax; at++) {
      docs[size++] = (pairs[at] ?? 0) - start;
    }
    writer.add(gram, docs, 0, size);
  }
  return rowsOf(place, block, messages, writer);
}

/**
 * Rows of one block with the messages of several that `isAlive` still knows.
 * @param isAlive by UID and check.
 */
export function mergeBlocks(
  place: MailboxPlace,
  block: number,
  sources: readonly WholeBlock[],
  isAlive: (uid: number, check: number) => boolean,
): Row[] {
  const { messages, numbers } = survivors(sources, isAlive);
  assert(messages.length <= blockMessagesMax, "a block has a bounded number of messages");
  const writer = new PartWriter(messages.length);
  const cursors = sources.map((source, at) => new BlockCursor(source, numbers[at] ?? noNumbers));
  const docs = new Uint32Array(messages.length);
  for (;;) {
    let gram = Number.POSITIVE_INFINITY;
    for (const cursor of cursors) if (cursor.gram < gram) gram = cursor.gram;
    if (gram === Number.POSITIVE_INFINITY) break;
    let size = 0;
    for (const cursor of cursors) if (cursor.gram === gram) size = cursor.take(docs, size);
    // Blocks mostly follow one another; where they don't, their messages are mixed.
    for (let at = 1; at < size; at++) {
      if ((docs[at] ?? 0) < (docs[at - 1] ?? 0)) {
        docs.subarray(0, size).sort();
        break;
      }
    }
    writer.add(gram, docs, 0, size);
  }
  return rowsOf(place, block, messages, writer);
}

const noNumbers = new Int32Array(0);

interface Survivors {
  readonly messages: readonly IndexedMessage[];
  /** For each source: the new number of each of its messages, -1 for those that are gone. */
  readonly numbers: readonly Int32Array[];
}

const noGrams = new Uint32Array(0);

function survivors(
  sources: readonly WholeBlock[],
  isAlive: (uid: number, check: number) => boolean,
): Survivors {
  const numbers = sources.map(({ directory }) => new Int32Array(directory.uids.length).fill(-1));
  const found: { uid: number; check: number; source: number; doc: number; known: boolean }[] = [];
  for (const [source, { directory }] of sources.entries()) {
    const unknown = new Set(directory.unknown);
    for (const [doc, uid] of directory.uids.entries()) {
      const check = directory.checks[doc] ?? 0;
      if (isAlive(uid, check)) found.push({ uid, check, source, doc, known: !unknown.has(doc) });
    }
  }
  found.sort((a, b) => a.uid - b.uid);
  const messages: IndexedMessage[] = [];
  for (const { uid, check, source, doc, known } of found) {
    if (messages.at(-1)?.uid === uid) continue;
    const map = numbers[source];
    if (map !== undefined) map[doc] = messages.length;
    messages.push({ uid, check, grams: known ? noGrams : undefined });
  }
  return { messages, numbers };
}

/** Goes through all grams of a block. */
class BlockCursor {
  /** Infinity at the end. */
  gram = 0;
  readonly #source: WholeBlock;
  readonly #numbers: Int32Array;
  readonly #docs: Uint32Array;
  #part = -1;
  #reader: PartReader | undefined;

  constructor(source: WholeBlock, numbers: Int32Array) {
    this.#source = source;
    this.#numbers = numbers;
    this.#docs = new Uint32Array(source.directory.uids.length);
    this.#next();
  }

  /** Adds the gram's messages by their new numbers behind `size` others and goes on; the new size. */
  take(docs: Uint32Array, size: number): number {
    const count = this.#reader?.read(this.#docs, this.#docs.length) ?? 0;
    let end = size;
    for (let at = 0; at < count; at++) {
      const number = this.#numbers[this.#docs[at] ?? 0] ?? -1;
      if (number >= 0) docs[end++] = number;
    }
    this.#next();
    return end;
  }

  #next(): void {
    while (this.#reader?.next() !== true) {
      const { directory, parts } = this.#source;
      const bytes = parts[++this.#part];
      if (bytes === undefined) {
        this.gram = Number.POSITIVE_INFINITY;
        return;
      }
      this.#reader = new PartReader(bytes, rowHeaderBytes, directory.firsts[this.#part] ?? 0);
    }
    this.gram = this.#reader.gram;
  }
}

function rowsOf(
  place: MailboxPlace,
  block: number,
  messages: readonly IndexedMessage[],
  writer: PartWriter,
): Row[] {
  const { parts, firsts, bytes } = writer.finish();
  const rows: Row[] = parts.map((part, at) => {
    const key = partKey(place, block, at);
    beginRow().raw(part);
    return [key, endRow(key)];
  });
  const key = directoryKey(place, block);
  const out = beginRow();
  out.varint(messages.length);
  let last = 0;
  for (const { uid } of messages) {
    out.varint(uid - last);
    last = uid;
  }
  for (const { check } of messages) out.u32(check);
  out.varints(messages.flatMap(({ grams }, doc) => (grams === undefined ? [doc] : [])));
  out.varint(bytes);
  out.varint(firsts.length);
  let lastFirst = 0;
  for (const first of firsts) {
    out.varint(first - lastFirst);
    lastFirst = first;
  }
  rows.push([key, endRow(key)]);
  return rows;
}

/** A directory from its row; undefined when the row is bad. */
export function readDirectory(key: Buffer, value: Buffer, block: number): Directory | undefined {
  if (!rowIsSound(key, value)) return undefined;
  const reader = payloadOf(value);
  const uids = ascending(reader.varint(), () => reader.varint());
  const checks = new Uint32Array(uids.length);
  for (let at = 0; at < checks.length; at++) checks[at] = reader.u32();
  const unknown = reader.varints();
  const bytes = reader.varint();
  const firsts = ascending(reader.varint(), () => reader.varint());
  return { block, uids, checks, unknown, firsts, bytes };
}

function ascending(count: number, distance: () => number): Uint32Array {
  const values = new Uint32Array(count);
  let last = 0;
  for (let at = 0; at < count; at++) {
    last += distance();
    values[at] = last;
  }
  return values;
}

/**
 * What a message is, in 32 bits: a UID whose message is another one than that which was indexed (a copy
 * made anew after a disaster) is as if it weren't indexed.
 */
export function messageCheck(tag: number, lsn: number, size: number, date: number): number {
  let hash = Math.imul(tag ^ 0x5bd1_e995, 0x9e37_79b1);
  hash = Math.imul((hash ^ (hash >>> 15)) + lsn, 0x85eb_ca6b);
  hash = Math.imul((hash ^ (hash >>> 13)) + Math.floor(lsn / 2 ** 32), 0xc2b2_ae35);
  hash = Math.imul((hash ^ (hash >>> 16)) + size, 0x27d4_eb2f);
  hash = Math.imul((hash ^ (hash >>> 15)) + date, 0x9e37_79b1);
  return (hash ^ (hash >>> 14)) >>> 0;
}
