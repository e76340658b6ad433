// Holds back the head of a message until its header is complete, so that hops can be counted, and a
// submitted message be checked and mended (RFC 6409), before a byte goes on. The body streams through.

/**
 * What is done with a header, its empty line included. `complete` is false when it is longer than the
 * gate holds: then `header` is only its beginning.
 */
export type HeaderPolicy = (header: Buffer, complete: boolean) => HeaderVerdict;

/** The header to store, or a refusal. */
export type HeaderVerdict =
  | { readonly ok: true; readonly header: Buffer }
  | { readonly ok: false; readonly reply: string };

/** The longest header that is held. As many bytes are indexed (protocols.md). */
export const headerBytesMax = 256 * 1024;

const nothing: Buffer = Buffer.alloc(0);
const emptyLine = Buffer.from("\r\n");

export class HeaderGate {
  readonly #policy: HeaderPolicy;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #open = false;
  /** The last three bytes held, enough to see an empty line over a chunk's edge. */
  #tail = "";
  /** Reply that refuses the message; its bytes are then swallowed. */
  refusal: string | undefined;

  constructor(policy: HeaderPolicy) {
    this.#policy = policy;
  }

  /** Bytes that may go on now; undefined while the header is incomplete. */
  push(chunk: Buffer): Buffer | undefined {
    if (this.#open) return chunk;
    const end = this.#endOfHeader(chunk);
    // The same bytes are shown to the policy however they were cut.
    const room = headerBytesMax - this.#heldBytes;
    if (Math.max(end, 0) > room || (end === -1 && chunk.length > room))
      return this.#release(chunk, room, false);
    if (end !== -1) return this.#release(chunk, end, true);
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    this.#tail = (this.#tail + chunk.toString("latin1", Math.max(0, chunk.length - 3))).slice(-3);
    return undefined;
  }

  /** What is still held when the message ends without an empty line. */
  finish(): Buffer | undefined {
    return this.#open ? undefined : this.#release(nothing, 0, true);
  }

  #release(chunk: Buffer, headerEnd: number, complete: boolean): Buffer {
    this.#open = true;
    const received =
      this.#held.length === 0
        ? chunk.subarray(0, headerEnd)
        : Buffer.concat([...this.#held, chunk.subarray(0, headerEnd)]);
    this.#held.length = 0;
    // Without a header the text must not be read as one, nor continue our own trace fields.
    const header = beginsAsHeader(received) ? received : Buffer.concat([emptyLine, received]);
    const verdict = this.#policy(header, complete || header !== received);
    if (!verdict.ok) {
      this.refusal = verdict.reply;
      return nothing;
    }
    if (verdict.header === received && this.#heldBytes === 0) return chunk;
    if (headerEnd === chunk.length) return verdict.header;
    return Buffer.concat([verdict.header, chunk.subarray(headerEnd)]);
  }

  /** Index in `chunk` behind the CRLFCRLF that ends the header, or behind a CRLF that starts the message; -1: not in it. */
  #endOfHeader(chunk: Buffer): number {
    if (this.#heldBytes > 0) {
      const joint = this.#tail + chunk.toString("latin1", 0, 3);
      if (this.#heldBytes === 1 && joint.startsWith("\r\n")) return 1;
      const at = joint.indexOf("\r\n\r\n");
      if (at !== -1) return at + 4 - this.#tail.length;
    } else if (chunk[0] === 0x0d && chunk[1] === 0x0a) {
      return 2;
    }
    const at = chunk.indexOf("\r\n\r\n");
    return at === -1 ? -1 : at + 4;
  }
}

/** True for a field, an empty line, nothing at all, and the `From ` line that old programs put first. */
function beginsAsHeader(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    if (byte === 0x3a) return i > 0;
    if (byte === 0x20 || byte === 0x09) return i > 0 && blanksThenColon(bytes, i);
    if (byte < 0x21 || byte > 0x7e) return i === 0 && byte === 0x0d;
  }
  return bytes.length === 0;
}

/** Behind the first word of a line: `Subject : x` (RFC 5322 §4.5), or `From user date`. */
function blanksThenColon(bytes: Buffer, wordEnd: number): boolean {
  const word = bytes.toString("latin1", 0, Math.min(wordEnd, 6));
  if (word === "From" || word === ">From") return true;
  let i = wordEnd;
  while (bytes[i] === 0x20 || bytes[i] === 0x09) i++;
  return bytes[i] === 0x3a;
}
