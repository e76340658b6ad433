// Which messages of a block have a gram, as bytes, in the shortest of three forms; and parts, the rows
// that hold grams in ascending order. A form may name more messages than have the gram, never fewer.

import { assert } from "../../lib/assert.ts";
import { ByteWriter } from "../byte-writer.ts";

/** A part is closed when it is this long. */
const partBytes = 8 * 1024;

/** The forms: distances between message numbers; a bitmap; all, when it is in most. */
const form = { distances: 0, bitmap: 1, all: 2 } as const;

/** Grams of one block on their way into parts. */
export class PartWriter {
  readonly #messages: number;
  readonly #part = new ByteWriter(partBytes * 2);
  readonly #postings = new ByteWriter(1024);
  readonly #parts: Buffer[] = [];
  readonly #firsts: number[] = [];
  #bytes = 0;
  #last = 0;

  /** @param messages how many the block has. */
  constructor(messages: number) {
    this.#messages = messages;
  }

  /** Grams come in ascending order; so do the numbers of messages, 0..messages-1, in `docs[from..to)`. */
  add(gram: number, docs: ArrayLike<number>, from: number, to: number): void {
    const count = to - from;
    if (count === 0) return;
    if (this.#part.length >= partBytes) this.#close();
    if (this.#part.length === 0) {
      this.#firsts.push(gram);
      this.#last = gram;
    }
    assert(gram >= this.#last, "grams ascend");
    this.#part.varint(gram - this.#last);
    this.#last = gram;
    if (count * 5 > this.#messages * 3 && this.#messages > 8) {
      this.#part.varint(form.all);
      return;
    }
    let last = -1;
    for (let at = from; at < to; at++) {
      const doc = docs[at] ?? 0;
      this.#postings.varint(doc - last - 1);
      last = doc;
    }
    const mapBytes = (this.#messages + 7) >> 3;
    if (this.#postings.length <= mapBytes) {
      this.#part.varint(this.#postings.length * 4 + form.distances);
      this.#part.raw(this.#postings.take());
      return;
    }
    this.#postings.reset();
    const map = Buffer.alloc(mapBytes);
    for (let at = from; at < to; at++) {
      const doc = docs[at] ?? 0;
      map[doc >> 3] = (map[doc >> 3] ?? 0) | (1 << (doc & 7));
    }
    this.#part.varint(mapBytes * 4 + form.bitmap);
    this.#part.raw(map);
  }

  finish(): {
    readonly parts: readonly Buffer[];
    readonly firsts: readonly number[];
    bytes: number;
  } {
    if (this.#part.length > 0) this.#close();
    return { parts: this.#parts, firsts: this.#firsts, bytes: this.#bytes };
  }

  #close(): void {
    const part = this.#part.take();
    this.#bytes += part.length;
    this.#parts.push(part);
  }
}

/** Goes through the grams of a part, whose checksum was right. */
export class PartReader {
  /** The gram that `next` has come to. */
  gram: number;
  readonly #bytes: Buffer;
  #at: number;
  #form = 0;
  #start = 0;

  /** @param first the part's first gram. */
  constructor(bytes: Buffer, start: number, first: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.gram = first;
  }

  /** False at the end. */
  next(): boolean {
    if (this.#at >= this.#bytes.length) return false;
    this.gram += this.#varint();
    const head = this.#varint();
    this.#form = head & 3;
    this.#start = this.#at;
    this.#at += Math.floor(head / 4);
    return true;
  }

  /** Numbers of the gram's messages, ascending, into `docs`; returns how many. */
  read(docs: Uint32Array, messages: number): number {
    let count = 0;
    if (this.#form === form.all) {
      for (; count < messages; count++) docs[count] = count;
      return count;
    }
    const bytes = this.#bytes;
    const end = this.#at;
    if (this.#form === form.bitmap) {
      for (let doc = 0; doc < messages; doc++) {
        if (((bytes[this.#start + (doc >> 3)] ?? 0) & (1 << (doc & 7))) !== 0) docs[count++] = doc;
      }
      return count;
    }
    let doc = -1;
    this.#at = this.#start;
    while (this.#at < end) {
      doc += 1 + this.#varint();
      docs[count++] = doc;
    }
    return count;
  }

  #varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
}
