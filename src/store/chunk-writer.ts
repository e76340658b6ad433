// Writes rendered FETCH data of many messages into chunks of a bounded size. Small values are copied
// into one buffer; large byte ranges become parts of their own without a copy. A message is cut in
// parts only at large ranges: its head, up to 16 KiB of it, is never divided.

import type { FetchChunk } from "../mail/mail-store.ts";
import { uid } from "../mail/ids.ts";

const chunkBytes = 256 * 1024;
/** From this size on bytes are handed on instead of copied. */
const largeBytes = 16 * 1024;

const nothing = Buffer.alloc(0);

type Part = FetchChunk["parts"][number];

export class ChunkWriter {
  /** A BINARY value could not be decoded, and NIL stands in its place. */
  unknownEncoding = false;
  #buffer: Buffer;
  /** Where the next byte goes, and where the open piece of the message begins. */
  #at = 0;
  #start = 0;
  #parts: Part[] = [];
  #bytesOut = 0;
  #uid = 0;
  /** In the open piece: where the message's sections begin; -1: not there. */
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
    this.#closePiece(false);
    if (this.#bytesOut >= chunkBytes) this.#closeChunk();
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
    this.#buffer.set(bytes, this.#at);
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
    if (this.#at > this.#start) this.#closePiece(true);
    if (this.#parts.length > 0) this.#closeChunk();
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
    if (this.#at > this.#start) this.#closePiece(true);
    this.#parts.push({ uid: uid(this.#uid), bytes, more: true });
    this.#bytesOut += bytes.length;
    if (this.#bytesOut >= chunkBytes) this.#closeChunk();
  }

  #closePiece(more: boolean): void {
    const bytes = this.#buffer.subarray(this.#start, this.#at);
    const part = { uid: uid(this.#uid), bytes, more };
    this.#parts.push(this.#sectionsAt < 0 ? part : { ...part, sectionsAt: this.#sectionsAt });
    this.#sectionsAt = -1;
    this.#bytesOut += bytes.length;
    this.#start = this.#at;
  }

  #makeRoom(count: number): void {
    let open = this.#buffer.subarray(this.#start, this.#at);
    if (open.length > largeBytes) {
      this.#closePiece(true);
      open = nothing;
    }
    // After a small first buffer the chunk goes on in a large one.
    if (this.#bytesOut >= chunkBytes / 2) this.#closeChunk();
    this.#buffer = Buffer.allocUnsafe(Math.max(chunkBytes, open.length + count));
    this.#buffer.set(open);
    this.#at = open.length;
    this.#start = 0;
  }

  #closeChunk(): void {
    if (this.#parts.length > 0) this.#ready.push({ parts: this.#parts });
    this.#parts = [];
    this.#bytesOut = 0;
    // What is behind the last piece can still be used: chunks are views.
    if (this.#buffer.length - this.#at < largeBytes) {
      this.#buffer = nothing;
      this.#at = 0;
    }
    this.#start = this.#at;
  }
}
