// Numbers and names of one datagram, written to and read from a buffer of 1200 bytes. The writer
// asserts that our own packet fits; the reader throws DecodeError at whatever a packet lacks.

import { assert } from "../../lib/assert.ts";
import { DecodeError } from "../../lib/decode.ts";
import { memberId } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { memberPattern } from "../link/hello.ts";

/** Fits every path's MTU with IPv6 and tunnels. */
export const packetBytesMax = 1200;

const u16Max = 0xffff;
const u32Max = 0xffff_ffff;
const u48Max = 2 ** 48 - 1;

export class PacketWriter {
  readonly #buffer = Buffer.alloc(packetBytesMax);
  #at = 0;

  reset(): void {
    this.#at = 0;
  }

  u8(value: number): void {
    this.#at = this.#buffer.writeUInt8(value, this.#at);
  }

  /** Figures beyond the field's width are written as its largest number. */
  u16(value: number): void {
    this.#at = this.#buffer.writeUInt16BE(within(value, u16Max), this.#at);
  }

  u32(value: number): void {
    this.#at = this.#buffer.writeUInt32BE(within(value, u32Max), this.#at);
  }

  u48(value: number): void {
    this.#at = this.#buffer.writeUIntBE(within(value, u48Max), this.#at, 6);
  }

  name(member: MemberId): void {
    assert(member.length <= 32, "member ids have at most 32 characters");
    this.u8(member.length);
    this.#at += this.#buffer.write(member, this.#at, "latin1");
  }

  bytes(bytes: Uint8Array): void {
    assert(this.#at + bytes.length <= packetBytesMax, "a packet fits its buffer");
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** What was written, as a view that the next packet overwrites. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }
}

export class PacketReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  u48(): number {
    return this.#bytes.readUIntBE(this.#take(6), 6);
  }

  name(): MemberId {
    const length = this.u8();
    const at = this.#take(length);
    const text = this.#bytes.toString("latin1", at, at + length);
    if (!memberPattern.test(text)) throw new DecodeError("a name should be a member id");
    return memberId(text);
  }

  /** So many of what `read` reads; more than `most` is refused before anything is read. */
  list<T>(count: number, most: number, read: () => T): readonly T[] {
    if (count > most) throw new DecodeError(`a packet has at most ${most} of a kind`);
    return Array.from({ length: count }, read);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new DecodeError("a packet should end here");
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new DecodeError("a packet should be longer");
    this.#at += count;
    return at;
  }
}

function within(value: number, most: number): number {
  return Math.min(most, Math.max(0, Math.floor(value)));
}
