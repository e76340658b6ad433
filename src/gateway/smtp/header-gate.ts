// Holds back the head of a message until its header is complete, so that hops can be counted, and a
// submitted message be checked and mended (RFC 6409), before a byte goes on. The body streams through.

/** What is done with a complete header. Returns the header to store, or a refusal. */
export type HeaderPolicy = (
  header: Buffer,
) =>
  | { readonly ok: true; readonly header: Buffer }
  | { readonly ok: false; readonly reply: string };

const headerBytesMax = 256 * 1024;

export class HeaderGate {
  readonly #policy: HeaderPolicy;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #open = false;
  /** The last bytes held, enough to see an empty line over a chunk's edge. */
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
    if (end === -1 && this.#heldBytes + chunk.length <= headerBytesMax) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
      this.#tail = (this.#tail + chunk.subarray(-3).toString("latin1")).slice(-3);
      return undefined;
    }
    return this.#release(chunk, end === -1 ? chunk.length : end);
  }

  /** What is still held when the message ends without an empty line. */
  finish(): Buffer | undefined {
    return this.#open ? undefined : this.#release(Buffer.alloc(0), 0);
  }

  #release(chunk: Buffer, headerEnd: number): Buffer {
    this.#open = true;
    const header =
      this.#held.length === 0
        ? chunk.subarray(0, headerEnd)
        : Buffer.concat([...this.#held, chunk.subarray(0, headerEnd)]);
    this.#held.length = 0;
    const result = this.#policy(header);
    if (!result.ok) {
      this.refusal = result.reply;
      return Buffer.alloc(0);
    }
    const rest = chunk.subarray(headerEnd);
    if (result.header === header && this.#heldBytes === 0) return chunk;
    return rest.length === 0 ? result.header : Buffer.concat([result.header, rest]);
  }

  /** Index in `chunk` behind the CRLFCRLF that ends the header, or behind a CRLF that starts the message; -1: not in it. */
  #endOfHeader(chunk: Buffer): number {
    if (this.#tail !== "" || this.#heldBytes > 0) {
      const joint = this.#tail + chunk.subarray(0, 3).toString("latin1");
      const at = joint.indexOf("\r\n\r\n");
      if (at !== -1) return at + 4 - this.#tail.length;
      if (this.#heldBytes < 2 && joint.startsWith("\r\n")) return 2 - this.#heldBytes;
    } else if (chunk.length >= 2 && chunk[0] === 0x0d && chunk[1] === 0x0a) {
      return 2;
    }
    const at = chunk.indexOf("\r\n\r\n");
    return at === -1 ? -1 : at + 4;
  }
}
