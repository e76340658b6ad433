// COMPRESS=DEFLATE on one connection (RFC 4978): what the client sends is inflated in small steps and
// only as fast as it is used, what we send is deflated flush by flush. Memory per session is bounded:
// one inflater with its window, and a few KiB of what was said last. Leaves sockets to connection.ts.

import { constants, createInflateRaw, deflateRawSync } from "node:zlib";
import type { InflateRaw } from "node:zlib";

/** Bytes that come out of the inflater at once. */
const stepBytes = 16 * 1024;
/** What was said last helps to say the next thing shortly: deflate refers back to it. */
const contextBytes = 4 * 1024;
/** What is shorter goes as it is, in a stored block: making deflate's tables would cost more. */
const storedBytesMax = 256;
/** Pieces of this size keep one call of deflate short. */
const pieceBytesMax = 64 * 1024;
/** RFC 1951 allows about 1030:1; text of commands has nothing near this. */
const ratioMax = 50;
/** Up to here nobody is accused. */
const ratioFreeBytes = 64 * 1024;

const nothing = Buffer.alloc(0);

/** Deflates output; nothing but a short context is kept between calls. */
export class Deflater {
  #context: Buffer = nothing;

  /** The bytes as deflate blocks that end at a byte border, so the client can read all of it. */
  deflate(bytes: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += pieceBytesMax) {
      pieces.push(this.#piece(bytes.subarray(at, at + pieceBytesMax)));
    }
    const [only] = pieces;
    return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
  }

  #piece(bytes: Uint8Array): Uint8Array {
    const packed = bytes.length <= storedBytesMax ? stored(bytes) : this.#pack(bytes);
    this.#context =
      bytes.length >= contextBytes
        ? Buffer.from(bytes.subarray(bytes.length - contextBytes))
        : Buffer.concat([this.#context, bytes]).subarray(-contextBytes);
    return packed;
  }

  #pack(bytes: Uint8Array): Uint8Array {
    const small = bytes.length <= contextBytes;
    return deflateRawSync(bytes, {
      finishFlush: constants.Z_SYNC_FLUSH,
      level: constants.Z_BEST_SPEED + 2,
      // A short answer needs no large tables, and making them would be most of the work.
      windowBits: small ? 13 : 15,
      memLevel: small ? 5 : 8,
      ...(this.#context.length === 0 ? {} : { dictionary: this.#context }),
    });
  }
}

/** One block that is not compressed; every block before it ended at a byte border. RFC 1951 §3.2.4 */
function stored(bytes: Uint8Array): Uint8Array {
  const block = Buffer.allocUnsafe(5 + bytes.length);
  block[0] = 0;
  block.writeUInt16LE(bytes.length, 1);
  block.writeUInt16LE(bytes.length ^ 0xffff, 3);
  block.set(bytes, 5);
  return block;
}

export interface InflaterHandlers {
  /** Plain bytes, in order. */
  readonly data: (bytes: Uint8Array) => void;
  /** More can be taken by `push`. */
  readonly drain: () => void;
  /** All that was pushed before `end` has been handed out. */
  readonly ended: () => void;
  /** The stream is broken, or a bomb; nothing more comes. */
  readonly failed: (why: string) => void;
  /** True for bytes that have a limit of their own: those of a streamed literal. */
  readonly bounded: () => boolean;
}

/** Inflates input. */
export class Inflater {
  readonly #inflate: InflateRaw;
  readonly #handlers: InflaterHandlers;
  #outBytes = 0;
  #failed = false;

  constructor(handlers: InflaterHandlers) {
    this.#handlers = handlers;
    this.#inflate = createInflateRaw({ chunkSize: stepBytes, finishFlush: constants.Z_SYNC_FLUSH });
    this.#inflate
      .on("data", (bytes: Buffer) => this.#step(bytes))
      .on("drain", () => handlers.drain())
      .on("end", () => {
        if (!this.#failed) handlers.ended();
      })
      .on("error", () => this.#fail("The compressed data is broken"));
  }

  /** False when `drain` should be waited for. */
  push(chunk: Uint8Array): boolean {
    if (this.#failed) return true;
    return this.#inflate.write(chunk);
  }
  /** Nothing more is pushed. */
  end(): void {
    if (!this.#failed) this.#inflate.end();
  }
  pause(): void {
    this.#inflate.pause();
  }
  resume(): void {
    this.#inflate.resume();
  }
  close(): void {
    this.#failed = true;
    this.#inflate.destroy();
  }

  /** A few bytes that stand for very many commands are an attack, not mail. */
  #step(bytes: Buffer): void {
    if (this.#failed) return;
    if (!this.#handlers.bounded()) this.#outBytes += bytes.length;
    const inBytes = this.#inflate.bytesWritten;
    if (this.#outBytes > ratioFreeBytes && this.#outBytes > ratioMax * inBytes) {
      this.#fail("The compressed data grows too much");
      return;
    }
    this.#handlers.data(bytes);
  }

  #fail(why: string): void {
    if (this.#failed) return;
    this.close();
    this.#handlers.failed(why);
  }
}
