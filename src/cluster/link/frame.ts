// Frames of member links: how bytes on a connection become (type, request id, head, body), and back.
// Heads are opaque here (wire-value.ts reads them); sockets are link.ts; meaning is caller.ts and answerer.ts.
//
// Frame = u32 length of what follows, u8 type and flags, u32 request id, u16 head length, head, body.
// Flag 0x80: a body is there (it may be empty). Flag 0x40: the head is longer than 65,535 bytes; the
// u16 is then 0 and a u32 head length follows it.

import { readU16, readU32, writeU16, writeU32 } from "../../lib/bytes.ts";
import { MailError } from "../../mail/errors.ts";

export const frameType = {
  hello: 1,
  request: 2,
  reply: 3,
  error: 4,
  item: 5,
  end: 6,
  credit: 7,
  cancel: 8,
  piece: 9,
  send: 10,
  ping: 11,
  pong: 12,
} as const;

export type FrameType = (typeof frameType)[keyof typeof frameType];

/** Longest frame on the wire, its length field included. */
export const frameBytesMax = 1024 * 1024;

const lengthBytes = 4;
/** Type, request id, head length. */
const prologueBytes = 7;
const bodyFlag = 0x80;
const longHeadFlag = 0x40;
const typeMask = 0x3f;
const typeMax = frameType.pong;
const shortHeadMax = 0xffff;
const noBytes = new Uint8Array(0);

/** The other end broke the frame format or the order of frames: the link must be closed. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** `head` and `body` are views: of the socket's chunk, or of the frame's own copy when it was split. */
export type FrameHandler = (
  type: FrameType,
  requestId: number,
  head: Uint8Array,
  body: Uint8Array | undefined,
) => void;

/** Cuts a byte stream into frames, however the stream is split. Copies only frames that span chunks. */
export class FrameDecoder {
  readonly #onFrame: FrameHandler;
  #bytesMax: number;
  /** The length field while it is incomplete. */
  readonly #length = Buffer.alloc(lengthBytes);
  #lengthFilled = 0;
  /** The frame behind the length field while it is incomplete. */
  #frame: Buffer | undefined;
  #frameFilled = 0;
  #stopped = false;

  /** @param bytesMax longest frame that is accepted; raise it with `accept` once the peer is known. */
  constructor(onFrame: FrameHandler, bytesMax: number = frameBytesMax) {
    this.#onFrame = onFrame;
    this.#bytesMax = bytesMax;
  }

  accept(bytesMax: number): void {
    this.#bytesMax = bytesMax;
  }

  /** No frame is handed out from now on, not even of the chunk that is being read. */
  stop(): void {
    this.#stopped = true;
    this.#frame = undefined;
  }

  /** @throws {FrameError} at the first malformed byte; frames before it have been handed out. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) {
      if (this.#frame !== undefined) {
        at = this.#fill(this.#frame, chunk, at);
      } else if (this.#lengthFilled > 0 || chunk.length - at < lengthBytes) {
        at = this.#fillLength(chunk, at);
      } else {
        at = this.#whole(chunk, at);
      }
    }
  }

  /** True between frames: an end of the stream here loses nothing. */
  get idle(): boolean {
    return this.#frame === undefined && this.#lengthFilled === 0;
  }

  #whole(chunk: Buffer, at: number): number {
    const length = this.#checked(readU32(chunk, at));
    const start = at + lengthBytes;
    if (chunk.length - start < length) {
      this.#begin(length);
      return start;
    }
    this.#emit(chunk, start, start + length);
    return start + length;
  }

  #fillLength(chunk: Buffer, at: number): number {
    const taken = Math.min(lengthBytes - this.#lengthFilled, chunk.length - at);
    chunk.copy(this.#length, this.#lengthFilled, at, at + taken);
    this.#lengthFilled += taken;
    if (this.#lengthFilled === lengthBytes) {
      this.#lengthFilled = 0;
      this.#begin(this.#checked(readU32(this.#length, 0)));
    }
    return at + taken;
  }

  #begin(length: number): void {
    this.#frame = Buffer.allocUnsafe(length);
    this.#frameFilled = 0;
  }

  #fill(frame: Buffer, chunk: Buffer, at: number): number {
    const taken = Math.min(frame.length - this.#frameFilled, chunk.length - at);
    chunk.copy(frame, this.#frameFilled, at, at + taken);
    this.#frameFilled += taken;
    if (this.#frameFilled === frame.length) {
      this.#frame = undefined;
      this.#emit(frame, 0, frame.length);
    }
    return at + taken;
  }

  #checked(length: number): number {
    if (length < prologueBytes) throw new FrameError(`frame of ${length} bytes is too short`);
    if (length + lengthBytes > this.#bytesMax) {
      throw new FrameError(`frame of ${length} bytes, at most ${this.#bytesMax} are allowed`);
    }
    return length;
  }

  #emit(bytes: Buffer, start: number, end: number): void {
    const typeAndFlags = bytes[start] ?? 0;
    const type = typeOf(typeAndFlags & typeMask);
    const requestId = readU32(bytes, start + 1);
    let headStart = start + prologueBytes;
    let headBytes = readU16(bytes, start + 5);
    if ((typeAndFlags & longHeadFlag) !== 0) {
      if (headBytes !== 0 || end - headStart < 4) throw new FrameError("bad long head");
      headBytes = readU32(bytes, headStart);
      headStart += 4;
      if (headBytes <= shortHeadMax) throw new FrameError("long head that is short");
    }
    const bodyStart = headStart + headBytes;
    if (bodyStart > end) throw new FrameError("head longer than its frame");
    const hasBody = (typeAndFlags & bodyFlag) !== 0;
    if (!hasBody && bodyStart !== end) throw new FrameError("body without its flag");
    this.#onFrame(
      type,
      requestId,
      headBytes === 0 ? noBytes : bytes.subarray(headStart, bodyStart),
      hasBody ? bytes.subarray(bodyStart, end) : undefined,
    );
  }
}

/** Collects encoded frames until they are taken for one write. Small bodies are copied, large ones referred to. */
export class FrameWriter {
  #slab = noSlab;
  /** Where the bytes begin that have not been taken or moved to `#chunks`. */
  #start = 0;
  #end = 0;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  /** Bytes written and not taken yet. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Adds a frame and returns its bytes on the wire. A body over `copiedBodyMax` must not change until it is sent.
   * @throws {MailError} LIMIT when the frame would be longer than `frameBytesMax`; nothing is added then.
   */
  add(type: FrameType, requestId: number, head: Uint8Array, body: Uint8Array | undefined): number {
    const frameBytes = frameSize(head, body);
    if (frameBytes > frameBytesMax) {
      throw new MailError({ code: "LIMIT", limit: "bytes of a frame", most: frameBytesMax });
    }
    const bodyBytes = body === undefined ? 0 : body.length;
    const referred = bodyBytes > copiedBodyMax;
    this.#reserve(referred ? frameBytes - bodyBytes : frameBytes);
    const longHead = head.length > shortHeadMax;
    const slab = this.#slab;
    writeU32(slab, frameBytes - lengthBytes, this.#end);
    let at = this.#end + lengthBytes;
    slab[at++] = type | (body === undefined ? 0 : bodyFlag) | (longHead ? longHeadFlag : 0);
    writeU32(slab, requestId, at);
    writeU16(slab, longHead ? 0 : head.length, at + 4);
    at += 6;
    if (longHead) {
      writeU32(slab, head.length, at);
      at += 4;
    }
    slab.set(head, at);
    at += head.length;
    if (body !== undefined && !referred) {
      slab.set(body, at);
      at += bodyBytes;
    }
    this.#end = at;
    if (body !== undefined && referred) {
      this.#cut();
      this.#chunks.push(body);
    }
    this.#bytes += frameBytes;
    return frameBytes;
  }

  /** Everything added since the last time, in order; the slab behind it is never written to again. */
  take(): readonly Uint8Array[] {
    this.#cut();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    return chunks;
  }

  #cut(): void {
    if (this.#end === this.#start) return;
    this.#chunks.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #reserve(bytes: number): void {
    if (this.#slab.length - this.#end >= bytes) return;
    this.#cut();
    this.#slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, bytes));
    this.#start = 0;
    this.#end = 0;
  }
}

/** A body up to this is copied into the output slab: cheaper than one more vector of a write. */
export const copiedBodyMax = 16 * 1024;

const slabBytes = 128 * 1024;
const noSlab = Buffer.alloc(0);

/** Bytes of a frame on the wire. */
export function frameSize(head: Uint8Array, body: Uint8Array | undefined): number {
  const longHead = head.length > shortHeadMax ? 4 : 0;
  return lengthBytes + prologueBytes + longHead + head.length + (body?.length ?? 0);
}

function typeOf(value: number): FrameType {
  if (value < 1 || value > typeMax) throw new FrameError(`unknown frame type ${value}`);
  return value as FrameType;
}
