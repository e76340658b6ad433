// FETCH requests and answers on the wire. A chunk of many messages is one body with a head of uid
// and length arrays: nothing is spent per message but two numbers.

import { uid, uidMax } from "../../mail/ids.ts";
import type { FetchChunk, FetchItems, FetchRequest, FetchSection } from "../../mail/mail-store.ts";
import type { RpcReply } from "../link/rpc.ts";
import { asMailboxId, decodeUidSet, encodeUidSet } from "./codec-values.ts";
import { asArray, asBoolean, asCount, asListOf, asOptional, asText, malformed } from "./decode.ts";

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
  return [mailbox, encodeUidSet(uids), bits, sections, changedSince, recentFrom, evenGone];
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

/** A chunk as one or more stream items. */
export function* encodeChunk(chunk: FetchChunk): Generator<RpcReply, void, undefined> {
  let uids: number[] = [];
  let lengths: number[] = [];
  let bodies: Uint8Array[] = [];
  let marks: number[] = [];
  let bytes = 0;
  for (const part of chunk.parts) {
    let rest = part.bytes;
    let { sectionsAt = -1 } = part;
    for (;;) {
      const piece = rest.subarray(0, itemBytesMax - bytes);
      rest = rest.subarray(piece.byteLength);
      const more = part.more || rest.byteLength > 0;
      if (sectionsAt >= 0 && sectionsAt <= piece.byteLength) marks.push(uids.length, sectionsAt);
      sectionsAt = sectionsAt <= piece.byteLength ? -1 : sectionsAt - piece.byteLength;
      uids.push(part.uid);
      // The sign carries `more`: -n-1 for n bytes of a message that goes on.
      lengths.push(more ? -piece.byteLength - 1 : piece.byteLength);
      bodies.push(piece);
      bytes += piece.byteLength;
      if (bytes < itemBytesMax && rest.byteLength === 0) break;
      yield item(uids, lengths, bodies, marks);
      marks = [];
      uids = [];
      lengths = [];
      bodies = [];
      bytes = 0;
      if (rest.byteLength === 0) break;
    }
  }
  if (uids.length > 0) yield item(uids, lengths, bodies, marks);
}

function item(
  uids: readonly number[],
  lengths: readonly number[],
  bodies: readonly Uint8Array[],
  marks: readonly number[],
): RpcReply {
  const [only] = bodies;
  return {
    // Pairs of a part's index and the offset at which sections begin in it; few have one.
    head: marks.length === 0 ? [uids, lengths] : [uids, lengths, marks],
    body: bodies.length === 1 && only !== undefined ? only : Buffer.concat(bodies),
  };
}

export function decodeChunk(reply: RpcReply): FetchChunk {
  const [uids, lengths, marks] = asArray(reply.head, "chunk");
  const body = reply.body ?? new Uint8Array(0);
  const sizes = asArray(lengths, "lengths");
  const sections = marks === undefined ? noMarks : decodeMarks(marks);
  let at = 0;
  const parts = asArray(uids, "uids").map((value, index) => {
    const size = sizes[index];
    if (typeof size !== "number" || !Number.isSafeInteger(size)) throw malformed("length");
    const more = size < 0;
    const end = at + (more ? -size - 1 : size);
    if (end > body.byteLength) throw malformed("length");
    const bytes = body.subarray(at, end);
    at = end;
    const part = { uid: uid(asCount(value, "uid", uidMax)), bytes, more };
    const sectionsAt = sections.get(index);
    return sectionsAt === undefined ? part : { ...part, sectionsAt };
  });
  return { parts };
}

const noMarks: ReadonlyMap<number, number> = new Map();

function decodeMarks(value: unknown): ReadonlyMap<number, number> {
  const fields = asListOf(value, "marks", (field) => asCount(field, "mark"));
  const marks = new Map<number, number>();
  for (let i = 0; i + 1 < fields.length; i += 2) marks.set(fields[i] ?? 0, fields[i + 1] ?? 0);
  return marks;
}
