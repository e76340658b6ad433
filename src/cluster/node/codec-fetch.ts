// FETCH requests and answers on the wire. A chunk of many messages is one body with a head of packed
// UIDs and lengths: nothing is spent per message but two numbers.

import { chunkOf, partsOf } from "../../mail/fetch-parts.ts";
import type { FetchPart } from "../../mail/fetch-parts.ts";
import { uid, uidMax } from "../../mail/ids.ts";
import type { FetchChunk, FetchItems, FetchRequest, FetchSection } from "../../mail/mail-store.ts";
import type { RpcReply } from "../link/rpc.ts";
import { asMailboxId, decodeUidSet, encodeUidSet, packed } from "./codec-values.ts";
import {
  asArray,
  asBoolean,
  asBytes,
  asCount,
  asInteger,
  asListOf,
  asOptional,
  asText,
  malformed,
} from "./decode.ts";
import { WireReader } from "./wire-reader.ts";

/** How chunks come back. A request of an older member says nothing: lists. */
export const chunkForm = { lists: 0, packed: 1 } as const;
export type ChunkForm = (typeof chunkForm)[keyof typeof chunkForm];

const itemNames = [
  "flags",
  "internalDate",
  "size",
  "envelope",
  "bodyStructure",
  "body",
  "modSeq",
  "saveDate",
  "emailId",
  "threadId",
  "preview",
  "previewLazy",
] as const;
const sectionKinds: readonly FetchSection["kind"][] = [
  "body",
  "header",
  "text",
  "mime",
  "fields",
  "fieldsNot",
  "binary",
  "binarySize",
];

export function encodeFetch(request: FetchRequest): readonly unknown[] {
  let bits = 0;
  itemNames.forEach((name, bit) => {
    if (request.items[name] === true) bits |= 1 << bit;
  });
  const sections = request.items.sections?.map(encodeSection) ?? null;
  const { mailbox, uids, changedSince = null, recentFrom = null, evenGone = null } = request;
  const set = encodeUidSet(uids);
  return [mailbox, set, bits, sections, changedSince, recentFrom, evenGone, chunkForm.packed];
}

/** The form in which the asker wants its answer. */
export function formOf(args: readonly unknown[]): ChunkForm {
  return args[7] === chunkForm.packed ? chunkForm.packed : chunkForm.lists;
}

export function decodeFetch(args: readonly unknown[]): FetchRequest {
  const bits = asCount(args[2], "items", (1 << itemNames.length) - 1);
  const items: { -readonly [K in keyof FetchItems]: FetchItems[K] } = {};
  itemNames.forEach((name, bit) => {
    if ((bits & (1 << bit)) !== 0) items[name] = true;
  });
  const sections = asOptional(args[3], "sections", (value) =>
    asListOf(value, "section", decodeSection),
  );
  if (sections !== undefined) items.sections = sections;
  const changedSince = asOptional(args[4], "modseq", asCount);
  const recentFrom = asOptional(args[5], "uid", asCount);
  const evenGone = asOptional(args[6], "even gone", asBoolean);
  return {
    mailbox: asMailboxId(args[0]),
    uids: decodeUidSet(args[1]),
    items,
    ...(changedSince === undefined ? {} : { changedSince }),
    ...(recentFrom === undefined ? {} : { recentFrom }),
    ...(evenGone === undefined ? {} : { evenGone }),
  };
}

function encodeSection(section: FetchSection): readonly unknown[] {
  const { path, kind, fields, partial, label } = section;
  const range = partial === undefined ? null : [partial.start, partial.length];
  return [path, sectionKinds.indexOf(kind), fields ?? null, range, label];
}

function decodeSection(value: unknown): FetchSection {
  const args = asArray(value, "section");
  const kind = sectionKinds[asCount(args[1], "section kind")];
  if (kind === undefined) throw malformed("section kind");
  const fields = asOptional(args[2], "fields", (list) =>
    asListOf(list, "field", (field) => asText(field, "field")),
  );
  const partial = asOptional(args[3], "partial", (range) => {
    const [start, length] = asArray(range, "partial");
    return { start: asCount(start, "start"), length: asCount(length, "length") };
  });
  return {
    path: asListOf(args[0], "path", (part) => asCount(part, "part")),
    kind,
    ...(fields === undefined ? {} : { fields }),
    ...(partial === undefined ? {} : { partial }),
    label: asText(args[4], "label"),
  };
}

/** Bodies of items; with its head each stays below a frame's limit. */
export const itemBytesMax = 512 * 1024;

/** A chunk as one or more stream items. @param form What the asker said that it understands. */
export function* encodeChunk(
  chunk: FetchChunk,
  form: ChunkForm,
): Generator<RpcReply, void, undefined> {
  if (chunk.bytes.byteLength <= itemBytesMax) yield item(chunk, form);
  else for (const piece of divided(chunk)) yield item(piece, form);
}

function item(chunk: FetchChunk, form: ChunkForm): RpcReply {
  const { uids, ends, bytes, more, sectionsAt } = chunk;
  if (form === chunkForm.lists) return { head: listsOf(chunk), body: bytes };
  const marks = packed((out) => {
    let uid = 0;
    let end = 0;
    for (let i = 0; i < uids.length; i++) {
      const next = uids[i] ?? 0;
      const nextEnd = ends[i] ?? 0;
      out.varint(next - uid);
      out.varint(nextEnd - end);
      uid = next;
      end = nextEnd;
    }
  });
  return { head: [uids.length, marks, more, sectionsAt ?? null], body: bytes };
}

/** The form of older members: lists of UIDs and lengths; -n-1 for n bytes of a message that goes on. */
function listsOf({ uids, ends, more, sectionsAt }: FetchChunk): readonly unknown[] {
  const lengths = Array.from(ends, (end, i) => end - (ends[i - 1] ?? 0));
  const last = lengths.length - 1;
  if (more) lengths[last] = -(lengths[last] ?? 0) - 1;
  const lists = [Array.from(uids), lengths];
  return sectionsAt === undefined ? lists : [...lists, [last, sectionsAt]];
}

/** A chunk that is too long, as several. */
function* divided(chunk: FetchChunk): Generator<FetchChunk, void, undefined> {
  for (const { uid, bytes, more, sectionsAt = -1 } of partsOf(chunk)) {
    for (let at = 0; at === 0 || at < bytes.byteLength; at += itemBytesMax) {
      const piece = bytes.subarray(at, at + itemBytesMax);
      const goesOn = more || at + itemBytesMax < bytes.byteLength;
      const begins = sectionsAt - at;
      const marked = goesOn && begins >= 0 && begins <= piece.byteLength;
      const part = { uid, bytes: piece, more: goesOn };
      yield chunkOf([marked ? { sectionsAt: begins, ...part } : part]);
    }
  }
}

/** @throws {MailError} INVALID */
export function decodeChunk(reply: RpcReply): FetchChunk {
  const fields = asArray(reply.head, "chunk");
  const bytes = reply.body ?? new Uint8Array(0);
  if (Array.isArray(fields[0])) return readLists(fields, bytes);
  const marks = asBytes(fields[1], "marks");
  const count = asCount(fields[0], "parts", marks.byteLength);
  const more = asBoolean(fields[2], "more");
  const sectionsAt = asOptional(fields[3], "sections", asCount);
  const reader = new WireReader(marks);
  const uids = new Uint32Array(count);
  const ends = new Uint32Array(count);
  let last = 0;
  let end = 0;
  for (let i = 0; i < count; i++) {
    last += reader.varint();
    end += reader.varint();
    if (last > uidMax || end > bytes.byteLength) throw malformed("chunk");
    uids[i] = last;
    ends[i] = end;
  }
  reader.end();
  return { uids, ends, bytes, more, ...(sectionsAt === undefined ? {} : { sectionsAt }) };
}

/** What an older member sends: a message may be there in several pieces. */
function readLists([uids, lengths, marks]: readonly unknown[], body: Uint8Array): FetchChunk {
  const sizes = asListOf(lengths, "lengths", asInteger);
  const pairs = asOptional(marks, "marks", (list) => asListOf(list, "mark", asCount)) ?? [];
  let at = 0;
  const parts = asListOf(uids, "uids", (value, what) => asCount(value, what, uidMax)).map(
    (value, index): FetchPart => {
      const size = sizes[index];
      if (size === undefined) throw malformed("length");
      const more = size < 0;
      const end = at + (more ? -size - 1 : size);
      if (end > body.byteLength) throw malformed("length");
      const bytes = body.subarray(at, end);
      at = end;
      const mark = pairs.findIndex((each, place) => place % 2 === 0 && each === index);
      const part = { uid: uid(value), bytes, more };
      return mark < 0 ? part : { sectionsAt: pairs[mark + 1] ?? 0, ...part };
    },
  );
  return chunkOf(parts);
}
