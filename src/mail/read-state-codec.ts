// Bytes of a member's read state, as log entries, rows and links hold them: a format version, then
// varints. A set of UIDs is written as runs or as bits, whichever is shorter.

import { MailError } from "./errors.ts";
import type { OwnChange, ReadState } from "./read-state.ts";
import { uidSetFromSorted, uidSetSize } from "./uid-set.ts";
import type { UidSet } from "./uid-set.ts";

const format = 1;

export function encodeReadState(state: ReadState): Uint8Array {
  const out: number[] = [format];
  varint(out, state.uidValidity);
  varint(out, state.own);
  varint(out, state.group);
  out.push(state.subscribed ? 1 : 0);
  varint(out, state.flags.length);
  for (const { flag, uids } of state.flags) {
    const name = Buffer.from(flag);
    varint(out, name.length);
    for (const byte of name) out.push(byte);
    writeUids(out, uids);
  }
  writeUids(out, state.hidden);
  varint(out, state.changes.length);
  let [group, own] = [0, 0];
  for (const change of state.changes) {
    varint(out, change.group - group);
    varint(out, change.own - own);
    writeUids(out, change.uids);
    ({ group, own } = change);
  }
  return Uint8Array.from(out);
}

/** @throws MailError DAMAGED */
export function decodeReadState(bytes: Uint8Array): ReadState {
  const reader = new Reader(bytes);
  if (reader.byte() !== format) throw damaged();
  const uidValidity = reader.varint();
  const own = reader.varint();
  const group = reader.varint();
  const subscribed = reader.byte() === 1;
  const flags = reader.list(() => {
    const flag = reader.text();
    return { flag, uids: reader.uids() };
  });
  const hidden = reader.uids();
  let at = { group: 0, own: 0 };
  const changes = reader.list((): OwnChange => {
    at = { group: at.group + reader.varint(), own: at.own + reader.varint() };
    return { ...at, uids: reader.uids() };
  });
  reader.end();
  return { uidValidity, own, group, subscribed, flags, hidden, changes };
}

/** Runs: 2·count, then gap and length of each. Bits: 2·bytes + 1, the first UID, then the bytes. */
function writeUids(out: number[], set: UidSet): void {
  const runs: number[] = [];
  let end = 0;
  for (let at = 0; at < set.length; at += 2) {
    const [low, high] = [set[at] ?? 0, set[at + 1] ?? 0];
    varint(runs, low - end);
    varint(runs, high - low);
    end = high;
  }
  const first = set[0] ?? 0;
  const bytes = set.length === 0 ? 0 : Math.floor((end - first) / 8) + 1;
  if (bytes + 5 >= runs.length || uidSetSize(set) === 0) {
    varint(out, set.length);
    for (const byte of runs) out.push(byte);
    return;
  }
  varint(out, 2 * bytes + 1);
  varint(out, first);
  const bits = new Uint8Array(bytes);
  for (let at = 0; at < set.length; at += 2) {
    for (let uid = set[at] ?? 0; uid <= (set[at + 1] ?? 0); uid++) {
      const bit = uid - first;
      bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  }
  for (const byte of bits) out.push(byte);
}

function varint(out: number[], value: number): void {
  let rest = value;
  while (rest >= 0x80) {
    out.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw damaged();
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw damaged();
  }

  text(): string {
    return Buffer.from(this.#raw(this.varint())).toString("utf8");
  }

  list<T>(read: () => T): T[] {
    const count = this.varint();
    if (count > this.#bytes.length) throw damaged();
    return Array.from({ length: count }, read);
  }

  uids(): UidSet {
    const head = this.varint();
    if (head % 2 === 1) return this.#bits((head - 1) / 2);
    if (head > 2 * this.#bytes.length) throw damaged();
    const set: number[] = [];
    let end = 0;
    for (let left = head; left > 0; left -= 2) {
      const low = end + this.varint();
      end = low + this.varint();
      set.push(low, end);
    }
    return set;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw damaged();
  }

  #bits(count: number): UidSet {
    const first = this.varint();
    const bits = this.#raw(count);
    const uids: number[] = [];
    bits.forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) {
        if ((byte & (1 << bit)) !== 0) uids.push(first + at * 8 + bit);
      }
    });
    return uidSetFromSorted(uids);
  }

  #raw(count: number): Uint8Array {
    if (this.#at + count > this.#bytes.length) throw damaged();
    const out = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return out;
  }
}

function damaged(): MailError {
  return new MailError({ code: "DAMAGED", what: "read state" });
}
