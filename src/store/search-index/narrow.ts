// What the search index knows of a search: for each of its text keys the messages that surely don't match.
// The rest, and whatever the index does not know of, is for the caller to look at.

import type { SearchKey } from "../../mail/search-key.ts";
import type { Columns } from "../columns.ts";
import { rowHeaderBytes } from "../row.ts";
import type { Hint } from "../search-hints.ts";
import { messageCheck } from "./block.ts";
import type { Directory } from "./block.ts";
import { queryGrams } from "./grams.ts";
import type { QueryGrams } from "./grams.ts";
import { partKey } from "./index-keys.ts";
import type { MailboxPlace } from "./index-keys.ts";
import type { IndexRows } from "./index-rows.ts";
import { PartReader } from "./postings.ts";

/** More grams of a search text would cost more than the messages they rule out. */
const gramsRead = 8;
/** A short text in more parts than this is in nearly every message. */
const rangePartsMax = 32;
/** What one search may note of its messages, a byte for each text key and message; further keys are looked at. */
const notedBytesMax = 32 * 1024 * 1024;
const plansMax = 64;
/** Blocks whose parts are read at once. */
const blocksAtOnce = 16;
const keysPerCall = 32;

/** A key that asks for a text in the message. */
type TextKey = Extract<SearchKey, { kind: "header" | "body" | "text" }>;

/** The answer of the index to one search. */
export class Narrowing implements Hint {
  readonly #maybe: ReadonlyMap<SearchKey, Uint8Array>;

  constructor(maybe: ReadonlyMap<SearchKey, Uint8Array>) {
    this.#maybe = maybe;
  }

  rulesOut(key: SearchKey, at: number): boolean {
    return this.#maybe.get(key)?.[at] === 0;
  }
}

interface Plan {
  readonly key: TextKey;
  /** In one of these zones it must be. */
  readonly zones: readonly QueryGrams[];
  readonly maybe: Uint8Array;
}

/**
 * Asks the index about the text keys in `key`, whose texts are normalised.
 * @param uids the messages in question, ascending, as `columns` had them.
 * @returns undefined when it has nothing to say.
 */
export async function narrow(
  rows: IndexRows,
  place: MailboxPlace,
  columns: Columns,
  uids: Uint32Array,
  key: SearchKey,
): Promise<Narrowing | undefined> {
  const keysMax = Math.min(plansMax, Math.max(1, Math.floor(notedBytesMax / uids.length)));
  const plans: Plan[] = [];
  for (const one of textKeys(key)) {
    if (plans.length >= keysMax) break;
    const plan = planOf(one, uids.length);
    if (plan !== undefined) plans.push(plan);
  }
  if (plans.length === 0) return undefined;
  const directories = await rows.directories(place);
  if (directories === undefined || directories.length === 0) return undefined;
  const damaged: number[] = [];
  for (let at = 0; at < directories.length; at += blocksAtOnce) {
    const blocks = directories
      .slice(at, at + blocksAtOnce)
      .map((one) => new BlockParts(one, plans));
    await readParts(rows, place, blocks);
    for (const block of blocks) {
      const spots = spotsOf(block.directory, columns, uids);
      for (const plan of plans) {
        if (!narrowBlock(plan, block, spots)) damaged.push(block.directory.block);
      }
    }
  }
  if (damaged.length > 0) await dropDamaged(rows, place, damaged);
  return new Narrowing(new Map(plans.map((plan) => [plan.key, plan.maybe])));
}

function textKeys(key: SearchKey): readonly TextKey[] {
  switch (key.kind) {
    case "and":
      return key.keys.flatMap(textKeys);
    case "or":
      return [...textKeys(key.a), ...textKeys(key.b)];
    case "not":
      return textKeys(key.key);
    case "header":
    case "body":
    case "text":
      return [key];
    default:
      return [];
  }
}

function planOf(key: TextKey, messages: number): Plan | undefined {
  const zones: QueryGrams[] = [];
  for (const zone of key.kind === "text" ? (["header", "body"] as const) : ([key.kind] as const)) {
    const asked = queryGrams(key.text, zone);
    if (asked === undefined) return undefined;
    zones.push({ ...asked, grams: some(asked.grams) });
  }
  return { key, zones, maybe: new Uint8Array(messages).fill(1) };
}

/** As many as are read, from all over the text. */
function some(grams: readonly number[]): readonly number[] {
  if (grams.length <= gramsRead) return grams;
  const step = grams.length / gramsRead;
  return Array.from({ length: gramsRead }, (_, at) => grams[Math.floor(at * step)] ?? 0);
}

/** A block and those of its parts that the plans ask for. */
class BlockParts {
  readonly directory: Directory;
  readonly wanted: ReadonlySet<number>;
  readonly values = new Map<number, Buffer>();

  constructor(directory: Directory, plans: readonly Plan[]) {
    this.directory = directory;
    const wanted = new Set<number>();
    const { firsts } = directory;
    for (const { zones } of plans) {
      for (const { grams, range } of zones) {
        for (const gram of grams) wanted.add(partOf(firsts, gram));
        if (range === undefined) continue;
        const [first, last] = partsOf(firsts, range);
        if (last - first < rangePartsMax) for (let i = first; i <= last; i++) wanted.add(i);
      }
    }
    wanted.delete(-1);
    this.wanted = wanted;
  }
}

/** The part in which a gram is, if it is anywhere; -1 when it is in none. */
function partOf(firsts: Uint32Array, gram: number): number {
  let low = 0;
  let high = firsts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((firsts[middle] ?? 0) <= gram) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** First and last part that may have grams of the range; the last is before the first when none has. */
function partsOf(firsts: Uint32Array, [low, high]: readonly [number, number]): [number, number] {
  return [Math.max(0, partOf(firsts, low)), partOf(firsts, high)];
}

async function readParts(
  rows: IndexRows,
  place: MailboxPlace,
  blocks: readonly BlockParts[],
): Promise<void> {
  const asked: { readonly block: BlockParts; readonly part: number }[] = [];
  for (const block of blocks) for (const part of block.wanted) asked.push({ block, part });
  const calls: Promise<void>[] = [];
  for (let from = 0; from < asked.length; from += keysPerCall) {
    const some = asked.slice(from, from + keysPerCall);
    const keys = some.map(({ block, part }) => partKey(place, block.directory.block, part));
    const call = async (): Promise<void> => {
      const values = await rows.parts(keys);
      for (const [at, { block, part }] of some.entries()) {
        const value = values[at];
        if (value !== undefined) block.values.set(part, value);
      }
    };
    calls.push(call());
  }
  await Promise.all(calls);
}

/** Where in `uids` each message of the block is; -1 when it is gone, or is not the one that was indexed. */
export function spotsOf(directory: Directory, columns: Columns, uids: Uint32Array): Int32Array {
  const spots = new Int32Array(directory.uids.length).fill(-1);
  const first = directory.uids[0] ?? 0;
  let spot = lowerBound(uids, first);
  let row = columns.lowerBound(first);
  for (const [doc, uid] of directory.uids.entries()) {
    while ((uids[spot] ?? uid) < uid) spot++;
    while (row < columns.count && (columns.uid[row] ?? 0) < uid) row++;
    if (spot === uids.length || row >= columns.count) break;
    if (uids[spot] !== uid || columns.uid[row] !== uid) continue;
    if (checkOf(columns, row) === directory.checks[doc]) spots[doc] = spot;
  }
  return spots;
}

/** What the message in this row of the columns is, as its block remembers it. */
export function checkOf(columns: Columns, row: number): number {
  return messageCheck(
    columns.bodyTag[row] ?? 0,
    columns.bodyLsn[row] ?? 0,
    columns.size[row] ?? 0,
    columns.date[row] ?? 0,
  );
}

function lowerBound(values: Uint32Array, least: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] ?? 0) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Marks the block's messages that can't match. False when a part is missing or bad: nothing is marked. */
function narrowBlock(plan: Plan, block: BlockParts, spots: Int32Array): boolean {
  const { unknown, uids } = block.directory;
  const maybe = new Uint8Array(uids.length);
  for (const doc of unknown) maybe[doc] = 1;
  for (const zone of plan.zones) {
    const found = withAll(zone.grams, block);
    const inRange = zone.range === undefined ? "all" : withAny(zone.range, block);
    if (found === undefined || inRange === undefined) return false;
    for (const [doc, hit] of found.entries()) {
      if (hit === 1 && (inRange === "all" || inRange[doc] === 1)) maybe[doc] = 1;
    }
  }
  for (const [doc, spot] of spots.entries()) if (spot >= 0) plan.maybe[spot] = maybe[doc] ?? 1;
  return true;
}

/** 1 for the messages that have all grams. */
function withAll(grams: readonly number[], block: BlockParts): Uint8Array | undefined {
  const { uids, firsts } = block.directory;
  const counts = new Uint8Array(uids.length);
  const docs = new Uint32Array(uids.length);
  for (const [nth, gram] of grams.entries()) {
    const part = partOf(firsts, gram);
    if (part < 0) return counts.fill(0);
    const bytes = block.values.get(part);
    if (bytes === undefined) return undefined;
    const reader = new PartReader(bytes, rowHeaderBytes, firsts[part] ?? 0);
    let has = reader.next();
    while (has && reader.gram < gram) has = reader.next();
    if (!has || reader.gram !== gram) return counts.fill(0);
    const count = reader.read(docs, docs.length);
    for (let at = 0; at < count; at++) {
      const doc = docs[at] ?? 0;
      if (counts[doc] === nth) counts[doc] = nth + 1;
    }
  }
  for (const [doc, count] of counts.entries()) counts[doc] = count === grams.length ? 1 : 0;
  return counts;
}

/** 1 for the messages that have a gram in the range; "all" when there are too many to look. */
function withAny(
  range: readonly [number, number],
  block: BlockParts,
): Uint8Array | "all" | undefined {
  const { uids, firsts } = block.directory;
  const found = new Uint8Array(uids.length);
  const docs = new Uint32Array(uids.length);
  const [low, high] = range;
  const [first, last] = partsOf(firsts, range);
  if (last - first >= rangePartsMax) return "all";
  for (let part = first; part <= last; part++) {
    const bytes = block.values.get(part);
    if (bytes === undefined) return undefined;
    const reader = new PartReader(bytes, rowHeaderBytes, firsts[part] ?? 0);
    while (reader.next() && reader.gram <= high) {
      if (reader.gram < low) continue;
      const count = reader.read(docs, docs.length);
      for (let at = 0; at < count; at++) found[docs[at] ?? 0] = 1;
    }
  }
  return found;
}

/** Parts were missing: because the blocks have been replaced meanwhile, or because the index is damaged. */
async function dropDamaged(
  rows: IndexRows,
  place: MailboxPlace,
  damaged: readonly number[],
): Promise<void> {
  const now = await rows.directories(place);
  if (now?.some(({ block }) => damaged.includes(block)) === true) await rows.drop(place);
}
