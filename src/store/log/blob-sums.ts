// Checksums of a blob's pieces of 64 KiB, in a file beside it: a blob is read in parts, and no part may
// come with a wrong byte. The digest of the whole is the entry's that refers to it.

import { asBuffer } from "../../lib/bytes.ts";
import { crc32c } from "../../lib/crc32c.ts";
import type { DiskFile } from "../../lib/disk.ts";
import { noteShortLived } from "../../lib/short-lived.ts";
import { MailError } from "../../mail/errors.ts";

export const sumSuffix = ".sum";
export const pieceBytes = 65_536;
const version = 1;
const headBytes = 8;

/** CRC-32C of each piece, the last of which may be short. */
export class BlobSums {
  readonly pieces: readonly number[];

  constructor(pieces: readonly number[]) {
    this.pieces = pieces;
  }

  equals(other: BlobSums): boolean {
    const { pieces } = this;
    return (
      pieces.length === other.pieces.length && pieces.every((crc, n) => crc === other.pieces[n])
    );
  }
}

/** Makes the checksums of what comes in parts of any length. */
export class SumsMaker {
  readonly #pieces: number[] = [];
  #crc = 0;
  #bytes = 0;

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; ) {
      const part = bytes.subarray(at, at + pieceBytes - this.#bytes);
      this.#crc = crc32c(part, this.#crc);
      this.#bytes += part.byteLength;
      at += part.byteLength;
      if (this.#bytes === pieceBytes) this.#end();
    }
  }

  finish(): BlobSums {
    if (this.#bytes > 0) this.#end();
    return new BlobSums(this.#pieces);
  }

  #end(): void {
    this.#pieces.push(this.#crc);
    this.#crc = 0;
    this.#bytes = 0;
  }
}

/** Version (u32), checksum of the rest (u32), checksums (u32 each). */
export function encodeSums({ pieces }: BlobSums): Uint8Array {
  const buffer = Buffer.alloc(headBytes + pieces.length * 4);
  buffer.writeUInt32BE(version, 0);
  for (const [at, crc] of pieces.entries()) buffer.writeUInt32BE(crc, headBytes + at * 4);
  buffer.writeUInt32BE(crc32c(buffer.subarray(headBytes)), 4);
  return buffer;
}

/** Undefined when the bytes are no intact checksums: who has none can't compare. */
export function decodeSums(bytes: Uint8Array): BlobSums | undefined {
  const buffer = asBuffer(bytes);
  if (buffer.byteLength < headBytes || buffer.byteLength % 4 !== 0) return undefined;
  if (buffer.readUInt32BE(0) !== version) return undefined;
  if (buffer.readUInt32BE(4) !== crc32c(buffer.subarray(headBytes))) return undefined;
  const pieces: number[] = [];
  for (let at = headBytes; at < buffer.byteLength; at += 4) pieces.push(buffer.readUInt32BE(at));
  return new BlobSums(pieces);
}

/** Part of a blob whose pieces have the right checksums. @throws {MailError} DAMAGED */
export async function readChecked(
  file: DiskFile,
  name: string,
  sums: BlobSums,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const first = Math.floor(offset / pieceBytes);
  const base = first * pieceBytes;
  const most = sums.pieces.length * pieceBytes;
  const end = Math.min(most, Math.ceil((offset + length) / pieceBytes) * pieceBytes);
  if (end <= base) return new Uint8Array(0);
  const bytes = await file.read(base, end - base);
  noteShortLived(bytes.byteLength);
  for (let at = 0; base + at < end; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    if (crc32c(piece) !== sums.pieces[first + at / pieceBytes]) {
      throw new MailError({ code: "DAMAGED", what: `blob ${name} at byte ${base + at}` });
    }
  }
  return bytes.subarray(offset - base, offset - base + length);
}
