// Bytes to the client: text and numbers are written into blocks, large bodies are passed on by
// reference. Bounded: past `outputBytesMax` the session waits for the client to read. Leaves sockets
// and their TLS to connection.ts, which is the sink.

export interface ByteSink {
  write(bytes: Uint8Array): void;
  /** Bytes written and not yet taken by the operating system. */
  pendingBytes(): number;
  /** Calls `run` once when everything written has been taken, or the connection is gone. */
  onDrain(run: () => void): void;
}

/** Up to this size bytes are copied into the block: cheaper than one more write. */
const copyBytesMax = 16 * 1024;
const smallBlock = 2 * 1024;
const largeBlock = 64 * 1024;
/** Up to this size a loop is faster than a copy by the runtime. */
const shortBytesMax = 48;
const none = Buffer.alloc(0);
const fetchWord = Buffer.from(" FETCH (");
const uidFetchWord = Buffer.from(" UIDFETCH (");
const uidWord = Buffer.from("UID ");
const fetchStartMax = 48;
const numberDigitsMax = 10;

export class Output {
  #sink: ByteSink;
  readonly #bytesMax: number;
  #block: Buffer | undefined;
  #used = 0;
  #blockSize = smallBlock;

  constructor(sink: ByteSink, bytesMax: number) {
    this.#sink = sink;
    this.#bytesMax = bytesMax;
  }

  /** STARTTLS: everything from here on goes to the encrypted side. */
  replaceSink(sink: ByteSink): void {
    this.flush();
    this.#sink = sink;
  }

  /** Text of characters below U+0100, one byte each. */
  text(text: string): this {
    const block = this.#room(text.length);
    const at = this.#used;
    if (text.length <= 24) {
      for (let i = 0; i < text.length; i++) block[at + i] = text.charCodeAt(i);
      this.#used = at + text.length;
    } else {
      this.#used = at + block.write(text, at, "latin1");
    }
    return this;
  }

  /**
   * `* n FETCH (`: the start of every answer of a listing, in one piece.
   * @param byUid `number` is a UID, and the response is UIDFETCH. RFC 9586 §3.3
   * @param uid Above 0: with `UID u` behind it.
   */
  fetchStart(number: number, byUid = false, uid = 0): this {
    const block = this.#room(fetchStartMax);
    let at = this.#used;
    block[at++] = 0x2a;
    block[at++] = 0x20;
    at = writeDecimal(block, at, number);
    const word = byUid ? uidFetchWord : fetchWord;
    for (let i = 0; i < word.length; i++) block[at++] = word[i] ?? 0;
    if (uid > 0) {
      for (let i = 0; i < uidWord.length; i++) block[at++] = uidWord[i] ?? 0;
      at = writeDecimal(block, at, uid);
    }
    this.#used = at;
    return this;
  }

  /** Any text, as UTF-8. */
  utf8(text: string): this {
    return this.bytes(Buffer.from(text, "utf8"));
  }

  /** A whole number from 0 to 2^53-1 in decimal. */
  number(value: number): this {
    if (value > 0xffff_ffff) return this.text(String(value));
    const block = this.#room(numberDigitsMax);
    this.#used = writeDecimal(block, this.#used, value);
    return this;
  }

  /** The bytes must not change afterwards. */
  bytes(bytes: Uint8Array): this {
    if (bytes.length > copyBytesMax) {
      this.flush();
      this.#sink.write(bytes);
      return this;
    }
    this.#room(bytes.length).set(bytes, this.#used);
    this.#used += bytes.length;
    return this;
  }

  /** bytes[from..to), without making an object for a short piece. */
  range(bytes: Uint8Array, from: number, to: number): this {
    const size = to - from;
    if (size > shortBytesMax) return this.bytes(bytes.subarray(from, to));
    const block = this.#room(size);
    const shift = this.#used - from;
    for (let i = from; i < to; i++) block[shift + i] = bytes[i] ?? 0;
    this.#used += size;
    return this;
  }

  /** Hands over what was written. Blocks are not kept, so that idle sessions have none. */
  flush(): void {
    if (this.#block !== undefined && this.#used > 0) {
      this.#sink.write(this.#block.subarray(0, this.#used));
    }
    this.#block = undefined;
    this.#used = 0;
  }
  /** At the end of an answer: blocks start small again. */
  end(): void {
    this.flush();
    this.#blockSize = smallBlock;
  }

  /** True when the client reads too slowly: await `drained` before writing more. */
  get full(): boolean {
    return this.#sink.pendingBytes() > this.#bytesMax;
  }
  /** Resolves when the client has taken everything; rejects when `signal` aborts. */
  drained(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      if (signal.aborted) {
        onAbort();
        return;
      }
      signal.addEventListener("abort", onAbort, { once: true });
      this.#sink.onDrain(() => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
    });
  }

  #room(size: number): Buffer {
    const full = this.#block;
    if (full !== undefined && this.#used + size <= full.length) return full;
    // What is short goes into the next block, too: a copy costs less than one more write.
    const kept =
      full !== undefined && this.#used <= smallBlock ? full.subarray(0, this.#used) : none;
    if (kept.length === 0) this.flush();
    this.#used = kept.length;
    const block = Buffer.allocUnsafeSlow(Math.max(this.#blockSize, kept.length + size));
    block.set(kept);
    this.#blockSize = Math.min(4 * this.#blockSize, largeBlock);
    this.#block = block;
    return block;
  }
}

/** Writes a 32-bit number in decimal at `at`; gives the index behind it. */
function writeDecimal(block: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits++;
  const end = at + digits;
  let rest = value;
  for (let place = end - 1; place >= at; place--) {
    const next = (rest / 10) >>> 0;
    block[place] = 0x30 + rest - next * 10;
    rest = next;
  }
  return end;
}
