// The jobs of the search index's worker as bytes, and their execution: messages or blocks in, rows out.
// Stateless: everything a job needs comes with it. Which jobs there are to do is builder.ts's business.

import { accountId, mailboxId } from "../../mail/ids.ts";
import { ByteReader } from "../byte-reader.ts";
import { ByteWriter } from "../byte-writer.ts";
import { forPieces, pieceText } from "../message-pieces.ts";
import { rowIsSound } from "../row.ts";
import { readParts } from "../static-row.ts";
import { buildBlock, mergeBlocks, readDirectory } from "./block.ts";
import type { IndexedMessage, Row, WholeBlock } from "./block.ts";
import { GramSet } from "./gram-set.ts";
import { addGrams } from "./grams.ts";
import { blockOfKey } from "./index-keys.ts";
import type { MailboxPlace } from "./index-keys.ts";

/** Some bytes of a message, from `start` on. */
export interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** What the worker gets of a message. Without pieces it becomes a candidate for every search. */
export interface RawMessage {
  readonly uid: number;
  readonly check: number;
  /** Part offsets as in the static row. */
  readonly parts: Uint8Array;
  /** What `forPieces` asks for, and the header: one piece, or several, in order. */
  readonly pieces: readonly Piece[];
}

const jobKind = { build: 1, merge: 2 } as const;

/** A job that makes a block of messages, ascending by UID. */
export function buildJob(
  place: MailboxPlace,
  block: number,
  messages: readonly RawMessage[],
): Uint8Array {
  const out = new ByteWriter(64 * 1024);
  writeHead(out, jobKind.build, place, block);
  out.varint(messages.length);
  for (const { uid, check, parts, pieces } of messages) {
    out.varint(uid);
    out.varint(check);
    out.bytes(parts);
    out.varint(pieces.length);
    for (const { start, bytes } of pieces) {
      out.varint(start);
      out.bytes(bytes);
    }
  }
  return out.take();
}

/** A job that makes one block of the messages that are left of several; `alive` by UID, with their checks. */
export function mergeJob(
  place: MailboxPlace,
  block: number,
  alive: ReadonlyMap<number, number>,
  blocks: readonly (readonly Row[])[],
): Uint8Array {
  const out = new ByteWriter(64 * 1024);
  writeHead(out, jobKind.merge, place, block);
  out.varint(alive.size);
  for (const [uid, check] of alive) {
    out.varint(uid);
    out.varint(check);
  }
  out.varint(blocks.length);
  for (const rows of blocks) out.raw(packRows(rows));
  return out.take();
}

/**
 * Does a job; the rows of the new block, packed. `undefined`: the blocks to merge are damaged.
 * Never throws because of what a message holds.
 */
export function doJob(job: Uint8Array): Uint8Array | undefined {
  const reader = new ByteReader(job);
  const kind = reader.u8();
  const place = { account: accountId(reader.varint()), mailbox: mailboxId(reader.varint()) };
  const block = reader.varint();
  if (kind === jobKind.build) return packRows(buildBlock(place, block, readMessages(reader)));
  const alive = new Map<number, number>();
  for (let left = reader.varint(); left > 0; left--) alive.set(reader.varint(), reader.varint());
  const blocks: WholeBlock[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const whole = wholeBlock(readRows(reader));
    if (whole === undefined) return undefined;
    blocks.push(whole);
  }
  return packRows(mergeBlocks(place, block, blocks, (uid, check) => alive.get(uid) === check));
}

/** Rows as one piece of memory. */
export function packRows(rows: readonly Row[]): Uint8Array {
  const out = new ByteWriter(64 * 1024);
  out.varint(rows.length);
  for (const [key, value] of rows) {
    out.bytes(key);
    out.bytes(value);
  }
  return out.take();
}

/** The rows again, as views. */
export function unpackRows(packed: Uint8Array): Row[] {
  return readRows(new ByteReader(packed));
}

function readRows(reader: ByteReader): Row[] {
  const rows: Row[] = [];
  for (let left = reader.varint(); left > 0; left--) rows.push([reader.bytes(), reader.bytes()]);
  return rows;
}

function writeHead(out: ByteWriter, kind: number, place: MailboxPlace, block: number): void {
  out.u8(kind);
  out.varint(place.account);
  out.varint(place.mailbox);
  out.varint(block);
}

/** A block from its parts in order and its directory, the last row; undefined when something is wrong. */
function wholeBlock(rows: readonly Row[]): WholeBlock | undefined {
  const [key, value] = rows.at(-1) ?? [];
  if (key === undefined || value === undefined) return undefined;
  const directory = readDirectory(key, value, blockOfKey(key));
  const parts = rows.slice(0, -1);
  if (directory?.firsts.length !== parts.length) return undefined;
  if (!parts.every(([part, bytes]) => rowIsSound(part, bytes))) return undefined;
  return { directory, parts: parts.map(([, bytes]) => bytes) };
}

const grams = new GramSet();

function readMessages(reader: ByteReader): IndexedMessage[] {
  const messages: IndexedMessage[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const uid = reader.varint();
    const check = reader.varint();
    const parts = reader.bytes();
    const pieces: { start: number; bytes: Buffer }[] = [];
    for (let more = reader.varint(); more > 0; more--) {
      pieces.push({ start: reader.varint(), bytes: reader.bytes() });
    }
    messages.push({ uid, check, grams: pieces.length === 0 ? undefined : gramsOf(parts, pieces) });
  }
  return messages;
}

/** All grams of a message; undefined when there are too many, or its text can't be had. */
function gramsOf(
  parts: Buffer,
  pieces: readonly { readonly start: number; readonly bytes: Buffer }[],
): Uint32Array | undefined {
  const root = readParts(new ByteReader(parts));
  const between = (start: number, end: number): Buffer | undefined => {
    const piece = pieces.find((one) => one.start <= start && end <= one.start + one.bytes.length);
    return piece?.bytes.subarray(start - piece.start, end - piece.start);
  };
  let whole = true;
  grams.clear();
  const header = between(root.headerStart, root.bodyStart);
  if (header === undefined) return undefined;
  addGrams(pieceText(header, undefined), "header", grams);
  forPieces(root, (start, end, part) => {
    const bytes = between(start, end);
    if (bytes === undefined) whole = false;
    else if (!grams.isFull) addGrams(pieceText(bytes, part), "body", grams);
  });
  return whole && !grams.isFull ? grams.grams.slice() : undefined;
}
