// Values that several requests and answers share, as fixed shapes: heads are arrays for msgpack,
// long lists are packed numbers in the body. Each `decode` checks what its `encode` made.

import {
  accountId,
  mailboxId,
  modSeq,
  shardId,
  shardMax,
  uid,
  uidMax,
  uidValidity,
} from "../../mail/ids.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type {
  BlobRef,
  FlagState,
  MailboxInfo,
  MessageSource,
  Principal,
} from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { ByteWriter } from "../../store/byte-writer.ts";
import { asArray, asBoolean, asBytes, asCount, asOptional, asText, malformed } from "./decode.ts";
import { WireReader } from "./wire-reader.ts";

const writer = new ByteWriter(64 * 1024);

/** Runs `write` on the shared writer and takes out what it wrote. */
export function packed(write: (writer: ByteWriter) => void): Buffer {
  writer.reset();
  write(writer);
  return writer.take();
}

/** Whom a request is for; deliveries and blobs, which name a shard only, use account 0. */
export function decodePrincipal(fields: readonly unknown[]): Principal {
  return {
    account: accountId(asCount(fields[2], "account")),
    shard: shardId(asCount(fields[1], "shard", shardMax)),
    credVersion: asCount(fields[3], "credVersion"),
  };
}

export function asMailboxId(value: unknown): MailboxId {
  return mailboxId(asCount(value, "mailbox id", uidMax));
}

/** Gaps and lengths of the ranges: about two bytes a range. */
export function encodeUidSet(set: UidSet): Uint8Array {
  return packed((out) => {
    let end = 0;
    for (let i = 0; i < set.length; i += 2) {
      const low = set[i] ?? 0;
      const high = set[i + 1] ?? 0;
      out.varint(low - end);
      out.varint(high - low);
      end = high;
    }
  });
}

export function decodeUidSet(value: unknown): UidSet {
  const reader = new WireReader(asBytes(value, "uid set"));
  const set: number[] = [];
  let end = 0;
  while (reader.left > 0) {
    const low = end + reader.varint();
    end = low + reader.varint();
    if (low === 0 || end > uidMax) throw malformed("uid set");
    set.push(low, end);
  }
  return set;
}

/** Ascending numbers as runs: next to nothing where there are no gaps. */
export function writeRuns(out: ByteWriter, values: Uint32Array): void {
  out.varint(values.length);
  let end = 0;
  for (let at = 0; at < values.length; ) {
    const behind = runEnd(values, at);
    const low = values[at] ?? 0;
    out.varint(low - end);
    out.varint(behind - at - 1);
    end = values[behind - 1] ?? 0;
    at = behind;
  }
}

/** Index behind the run that begins at `at`: by doubling steps, then by halves. */
function runEnd(values: Uint32Array, at: number): number {
  const base = (values[at] ?? 0) - at;
  const isInRun = (index: number): boolean => (values[index] ?? 0) - index === base;
  let step = 1;
  while (at + step < values.length && isInRun(at + step)) step *= 2;
  let low = at + Math.floor(step / 2);
  let high = Math.min(values.length, at + step);
  while (low + 1 < high) {
    const middle = (low + high) >>> 1;
    if (isInRun(middle)) low = middle;
    else high = middle;
  }
  return high;
}

/** More than any mailbox can hold: what claims to be longer is no answer of ours. */
const messagesMax = 2 ** 27;

export function readRuns(reader: WireReader): Uint32Array {
  const count = asCount(reader.varint(), "messages", messagesMax);
  const runs: number[] = [];
  let end = 0;
  for (let found = 0; found < count; ) {
    const low = end + reader.varint();
    end = low + reader.varint();
    found += end - low + 1;
    if (low === 0 || end > uidMax || found > count) throw malformed("runs");
    runs.push(low, end);
  }
  const values = new Uint32Array(count);
  for (let at = 0, i = 0; i < runs.length; i += 2) {
    const high = runs[i + 1] ?? 0;
    for (let value = runs[i] ?? 0; value <= high; at++) values[at] = value++;
  }
  return values;
}

/** Ascending numbers as gaps. */
export function writeAscending(
  out: ByteWriter,
  values: Iterable<number> & { length: number },
): void {
  out.varint(values.length);
  let last = 0;
  for (const value of values) {
    out.varint(value - last);
    last = value;
  }
}

export function readAscending(reader: WireReader): Uint32Array {
  const values = new Uint32Array(reader.count());
  let last = 0;
  for (let i = 0; i < values.length; i += 1) {
    last += reader.varint();
    if (last > uidMax) throw malformed("uid");
    values[i] = last;
  }
  return values;
}

/** Flag lists repeat, so each distinct one is written once. */
export function writeFlagStates(out: ByteWriter, states: readonly FlagState[]): void {
  const numbers = new Map<string, number>();
  const lists: (readonly string[])[] = [];
  let last: readonly string[] | undefined;
  let number = 0;
  const which = states.map(({ flags }) => {
    // Neighbours mostly have the very same list.
    if (flags === last) return number;
    last = flags;
    const key = flags.join(" ");
    number = numbers.get(key) ?? lists.push(flags) - 1;
    numbers.set(key, number);
    return number;
  });
  out.varint(lists.length);
  for (const flags of lists) {
    out.varint(flags.length);
    for (const flag of flags) out.text(flag);
  }
  out.varint(states.length);
  let before = 0;
  states.forEach((state, index) => {
    out.varint(state.uid - before);
    out.varint(state.modSeq);
    out.varint(which[index] ?? 0);
    before = state.uid;
  });
}

export function readFlagStates(reader: WireReader): readonly FlagState[] {
  const lists = Array.from({ length: reader.count() }, () =>
    Array.from({ length: reader.count() }, () => reader.text()),
  );
  let last = 0;
  return Array.from({ length: reader.count() }, () => {
    last += reader.varint();
    const modSequence = modSeq(reader.varint());
    const flags = lists[reader.varint()];
    if (flags === undefined || last > uidMax) throw malformed("flag state");
    return { uid: uid(last), modSeq: modSequence, flags };
  });
}

export function encodeInfo(info: MailboxInfo): readonly unknown[] {
  return [
    info.id,
    info.name,
    info.selectable,
    info.subscribed,
    info.specialUse ?? null,
    info.uidValidity,
    info.uidNext,
    info.highestModSeq,
    info.messages,
    info.unseen,
    info.deleted,
    info.recent,
    info.sizeBytes,
    info.rights ?? null,
  ];
}

export function decodeInfo(value: unknown): MailboxInfo {
  const fields = asArray(value, "mailbox");
  const specialUse = asOptional(fields[4], "special use", asText);
  // Absent in what older nodes send.
  const rights = asOptional(fields[13], "rights", asText);
  return {
    id: asMailboxId(fields[0]),
    name: asText(fields[1], "name"),
    selectable: asBoolean(fields[2], "selectable"),
    subscribed: asBoolean(fields[3], "subscribed"),
    ...(specialUse === undefined ? {} : { specialUse }),
    uidValidity: uidValidity(asCount(fields[5], "uidvalidity", uidMax)),
    uidNext: asCount(fields[6], "uidnext"),
    highestModSeq: modSeq(asCount(fields[7], "modseq")),
    messages: asCount(fields[8], "messages"),
    unseen: asCount(fields[9], "unseen"),
    deleted: asCount(fields[10], "deleted"),
    recent: asCount(fields[11], "recent"),
    sizeBytes: asCount(fields[12], "size"),
    ...(rights === undefined ? {} : { rights }),
  };
}

/** A mailbox in a packed list. */
export function writeInfo(out: ByteWriter, info: MailboxInfo): void {
  out.varint(info.id);
  out.text(info.name);
  const { selectable, subscribed, rights } = info;
  out.varint((selectable ? 1 : 0) + (subscribed ? 2 : 0) + (rights === undefined ? 0 : 4));
  if (rights !== undefined) out.text(rights);
  out.text(info.specialUse ?? "");
  for (const figure of infoFigures) out.varint(info[figure]);
}

export function readInfo(reader: WireReader): MailboxInfo {
  const id = reader.varint();
  const name = reader.text();
  const bits = reader.varint();
  const rights = (bits & 4) === 0 ? null : reader.text();
  const specialUse = reader.text();
  const figures = infoFigures.map(() => reader.varint());
  const flags = [(bits & 1) === 1, (bits & 2) === 2];
  return decodeInfo([
    id,
    name,
    ...flags,
    specialUse === "" ? null : specialUse,
    ...figures,
    rights,
  ]);
}

const infoFigures = [
  "uidValidity",
  "uidNext",
  "highestModSeq",
  "messages",
  "unseen",
  "deleted",
  "recent",
  "sizeBytes",
] as const;

export function encodeBlob(blob: BlobRef): readonly unknown[] {
  return [blob.shard, blob.id, blob.sizeBytes, blob.sha256];
}

export function decodeBlob(value: unknown): BlobRef {
  const fields = asArray(value, "blob");
  return {
    shard: shardId(asCount(fields[0], "shard", shardMax)),
    id: asText(fields[1], "blob", 64),
    sizeBytes: asCount(fields[2], "size"),
    sha256: asText(fields[3], "sha256", 64),
  };
}

/** A message in the body is its length in the head; a blob is its reference. */
export function encodeSource(source: MessageSource): unknown {
  return source.kind === "bytes" ? source.bytes.byteLength : encodeBlob(source.blob);
}

/** Takes sources in order out of a body. */
export class SourceReader {
  readonly #body: Uint8Array;
  #at = 0;

  constructor(body: Uint8Array | undefined) {
    this.#body = body ?? new Uint8Array(0);
  }

  take(value: unknown): MessageSource {
    if (typeof value !== "number") return { kind: "blob", blob: decodeBlob(value) };
    const end = this.#at + asCount(value, "length");
    if (end > this.#body.byteLength) throw malformed("length");
    const bytes = this.#body.subarray(this.#at, end);
    this.#at = end;
    return { kind: "bytes", bytes };
  }
}
