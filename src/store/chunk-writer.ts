// Writes rendered FETCH data of many messages into chunks of a bounded size, one buffer after the other.
// Large byte ranges become chunks of their own without a copy. A message is divided only at these: its
// head, up to 16 KiB of it, is never.

import type { FetchChunk } from "../mail/mail-store.ts";

const chunkBytes = 256 * 1024;
/** From this size on bytes are handed on instead of copied: a chunk more costs about as much. */
const largeBytes = 64 * 1024;
/** An unfinished message of up to this size begins in the next buffer anew. */
const movedBytes = 16 * 1024;
/** Up to here a loop is cheaper than a copy by the runtime. */
const loopBytes = 48;

export class ChunkWriter {
  /** A BINARY value could not be decoded, and NIL stands in its place. */
  unknownEncoding = false;
  #buffer: Buffer;
  /** Where the next byte goes, and where the chunk and the open message in it begin. */
  #at = 0;
  #chunkStart = 0;
  #start = 0;
  /** Of the messages that are complete in the chunk under way. */
  #uids = new Uint32Array(16);
  #ends = new Uint32Array(16);
  #count = 0;
  /** Of the open message; 0: none is open. */
  #uid = 0;
  /** In the open message's bytes of this chunk: where its sections begin; -1: not there. */
  #sectionsAt = -1;
  #ready: FetchChunk[] = [];

  /** @param firstBytes of the first buffer: less than a chunk for one message, since large ones cost time. */
  constructor(firstBytes: number = chunkBytes) {
    this.#buffer = Buffer.allocUnsafe(firstBytes);
  }

  begin(messageUid: number): void {
    this.#uid = messageUid;
    this.#start = this.#at;
    this.ascii("UID ");
    this.number(messageUid);
  }

  /** What follows are the message's sections. */
  beginSections(): void {
    this.#sectionsAt = this.#at - this.#start;
  }

  end(): void {
    this.#sectionsAt = -1; // Nobody asks in a message that came whole.
    this.#note(this.#uid);
    this.#uid = 0;
    this.#start = this.#at;
    if (this.#at - this.#chunkStart >= chunkBytes) this.#closeChunk(false);
  }

  /** Text known to be ASCII. */
  ascii(text: string): void {
    if (text.length > this.#buffer.length - this.#at) this.#makeRoom(text.length);
    const buffer = this.#buffer;
    let at = this.#at;
    for (let i = 0; i < text.length; i++) buffer[at++] = text.charCodeAt(i);
    this.#at = at;
  }

  number(value: number): void {
    if (value < 0x7fff_ffff) this.#smallNumber(value);
    else this.ascii(String(value));
  }

  bytes(bytes: Uint8Array): void {
    if (bytes.length >= largeBytes) {
      this.#large(bytes);
      return;
    }
    if (bytes.length > this.#buffer.length - this.#at) this.#makeRoom(bytes.length);
    if (bytes.length <= loopBytes) {
      const buffer = this.#buffer;
      const at = this.#at;
      for (let i = 0; i < bytes.length; i++) buffer[at + i] = bytes[i] ?? 0;
    } else this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** `bytes` from `start` to `end`, without a view of them where they are few. */
  range(bytes: Buffer, start: number, end: number): void {
    const count = end - start;
    if (count >= largeBytes) {
      this.#large(bytes.subarray(start, end));
      return;
    }
    if (count > this.#buffer.length - this.#at) this.#makeRoom(count);
    bytes.copy(this.#buffer, this.#at, start, end);
    this.#at += count;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** Finished chunks, oldest first. */
  ready(): FetchChunk[] {
    if (this.#ready.length === 0) return [];
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  /** Closes the chunk under way: all that is left, or in the middle of a message what is there so far. */
  flush(): void {
    this.#closeChunk(this.#uid > 0);
  }

  #smallNumber(value: number): void {
    if (10 > this.#buffer.length - this.#at) this.#makeRoom(10);
    let digits = 1;
    for (let limit = 10; value >= limit; limit *= 10) digits++;
    let rest = value;
    for (let at = this.#at + digits - 1; at >= this.#at; at--) {
      const next = (rest / 10) | 0;
      this.#buffer[at] = 0x30 + rest - next * 10;
      rest = next;
    }
    this.#at += digits;
  }

  #large(bytes: Uint8Array): void {
    this.#closeChunk(true);
    for (let from = 0; from < bytes.length; from += chunkBytes) {
      const piece = bytes.subarray(from, from + chunkBytes);
      this.#ready.push({
        uids: Uint32Array.of(this.#uid),
        ends: Uint32Array.of(piece.length),
        bytes: piece,
        more: true,
      });
    }
  }

  /** The bytes up to here belong to the message. */
  #note(uid: number): void {
    if (this.#count === this.#uids.length) {
      this.#uids = grown(this.#uids);
      this.#ends = grown(this.#ends);
    }
    this.#uids[this.#count] = uid;
    this.#ends[this.#count++] = this.#at - this.#chunkStart;
  }

  #makeRoom(count: number): void {
    const open = this.#at - this.#start;
    if (open > movedBytes) this.#closeChunk(true);
    // After a small first buffer the chunk goes on in a large one.
    else if (this.#at - this.#chunkStart > movedBytes) this.#closeComplete();
    const kept = this.#buffer.subarray(this.#chunkStart, this.#at);
    this.#buffer = Buffer.allocUnsafe(Math.max(chunkBytes, kept.length + count));
    this.#buffer.set(kept);
    this.#start -= this.#chunkStart;
    this.#at = kept.length;
    this.#chunkStart = 0;
  }

  /** Closes the chunk in front of the open message. */
  #closeComplete(): void {
    if (this.#count > 0) this.#give(this.#start, false);
    this.#chunkStart = this.#start;
  }

  /** @param more The open message goes on behind it. */
  #closeChunk(more: boolean): void {
    if (more && this.#at > this.#start) this.#note(this.#uid);
    if (this.#count > 0) this.#give(this.#at, more);
    if (more) this.#sectionsAt = -1;
    // What is behind the chunk can still be used: chunks are views.
    this.#chunkStart = this.#at;
    this.#start = this.#at;
  }

  #give(end: number, more: boolean): void {
    const chunk = {
      uids: this.#uids.slice(0, this.#count),
      ends: this.#ends.slice(0, this.#count),
      bytes: this.#buffer.subarray(this.#chunkStart, end),
      more,
    };
    this.#count = 0;
    const sectionsAt = more ? this.#sectionsAt : -1;
    this.#ready.push(sectionsAt < 0 ? chunk : { sectionsAt, ...chunk });
  }
}

function grown(numbers: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(numbers.length * 4);
  larger.set(numbers);
  return larger;
}
