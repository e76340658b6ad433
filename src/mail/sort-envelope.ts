// Reads single fields out of a rendered ENVELOPE, for SORT and THREAD: forward, without parsing what
// lies between. Text is binary, one character a byte, as it was in the header. RFC 9051 §7.5.2

import { assert } from "../lib/assert.ts";

const fields = [
  "date",
  "subject",
  "from",
  "sender",
  "replyTo",
  "to",
  "cc",
  "bcc",
  "inReplyTo",
  "messageId",
] as const;
type AddressField = "from" | "to" | "cc";

export interface EnvelopeAddress {
  readonly name: string | undefined;
  readonly mailbox: string | undefined;
  readonly host: string | undefined;
}

const openParen = 0x28;
const closeParen = 0x29;
const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const letterN = 0x4e;
const zero = 0x30;
const space = 0x20;

export class EnvelopeReader {
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;
  /** The field at `#at`. */
  #field = 0;
  #at = 0;

  /** @param start of the ENVELOPE's parenthesis in `bytes`. */
  moveTo(bytes: Buffer, start: number): void {
    assert(bytes[start] === openParen, "an ENVELOPE begins with a parenthesis");
    this.#bytes = bytes;
    this.#start = start;
    this.#rewind();
  }

  /** Value of a text field; undefined for NIL. */
  text(field: "subject" | "inReplyTo" | "messageId"): string | undefined {
    this.#seek(fields.indexOf(field));
    const value = this.#string();
    this.#next();
    return value;
  }

  /** The first address, a group's beginning included; undefined for NIL. */
  firstAddress(field: AddressField): EnvelopeAddress | undefined {
    this.#seek(fields.indexOf(field));
    if (this.#bytes[this.#at] !== openParen) return undefined;
    const start = this.#at;
    this.#at += 2; // `((`
    const name = this.#string();
    this.#at++;
    this.#skip(); // The route.
    this.#at++;
    const mailbox = this.#string();
    this.#at++;
    const host = this.#string();
    this.#at = start;
    return { name, mailbox, host };
  }

  #rewind(): void {
    this.#field = 0;
    this.#at = this.#start + 1;
  }

  #seek(field: number): void {
    if (this.#field > field) this.#rewind();
    while (this.#field < field) {
      this.#skip();
      this.#next();
    }
  }

  #next(): void {
    this.#at++; // The space.
    this.#field++;
  }

  /** Passes over one value: NIL, a string, or a list. */
  #skip(): void {
    let depth = 0;
    do {
      const byte = this.#bytes[this.#at];
      if (byte === openParen) {
        depth++;
        this.#at++;
      } else if (byte === closeParen) {
        depth--;
        this.#at++;
      } else if (byte === space) this.#at++;
      else this.#skipString();
      assert(this.#at <= this.#bytes.length, "an ENVELOPE has all its bytes");
    } while (depth > 0);
  }

  #skipString(): void {
    const bytes = this.#bytes;
    switch (bytes[this.#at]) {
      case letterN:
        this.#at += 3;
        return;
      case quote:
        this.#at++;
        while (bytes[this.#at] !== quote) {
          assert(this.#at < bytes.length, "a string of an ENVELOPE ends");
          this.#at += bytes[this.#at] === backslash ? 2 : 1;
        }
        this.#at++;
        return;
      case openBrace: {
        const size = this.#literalSize();
        this.#at += size;
        return;
      }
      default:
        assert(false, "a value of an ENVELOPE");
    }
  }

  #string(): string | undefined {
    const from = this.#at;
    const kind = this.#bytes[from];
    if (kind === openBrace) {
      const size = this.#literalSize();
      const start = this.#at;
      this.#at += size;
      return this.#bytes.toString("latin1", start, this.#at);
    }
    this.#skipString();
    if (kind !== quote) return undefined;
    const text = this.#bytes.toString("latin1", from + 1, this.#at - 1);
    return text.includes("\\") ? text.replaceAll(/\\(.)/g, "$1") : text;
  }

  /** Reads `{n}` CR LF. */
  #literalSize(): number {
    let size = 0;
    let at = this.#at + 1;
    for (;;) {
      const digit = (this.#bytes[at] ?? 0) - zero;
      if (digit < 0 || digit > 9) break;
      size = size * 10 + digit;
      at++;
    }
    this.#at = at + 3;
    return size;
  }
}
