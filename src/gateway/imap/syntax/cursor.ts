// A cursor over the bytes of one whole command, kept literals included as they came on the wire.
// The first thing that does not fit sets `fault` and moves to the end, so that a parser is straight
// code without exceptions and checks `fault` once. Leaves meaning to the parsers of the commands.

import {
  backslash,
  closeBrace,
  closeParen,
  CR,
  isAstringChar,
  isAtomChar,
  isDigit,
  isFlagChar,
  isListChar,
  isTagChar,
  LF,
  openBrace,
  openParen,
  plus,
  quote,
  SP,
  tilde,
  zero,
} from "./characters.ts";

const nothing = new Uint8Array(0);
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Cursor {
  readonly bytes: Uint8Array;
  readonly #nestingMax: number;
  #at = 0;
  #depth = 0;
  #fault: string | undefined;
  #faultCode: string | undefined;

  constructor(bytes: Uint8Array, nestingMax: number) {
    this.bytes = bytes;
    this.#nestingMax = nestingMax;
  }

  /** What is wrong with the command, once something is. The first finding stays. */
  get fault(): string | undefined {
    return this.#fault;
  }
  get ok(): boolean {
    return this.#fault === undefined;
  }
  get at(): number {
    return this.#at;
  }
  /** The byte at the cursor, -1 at the end. */
  peek(): number {
    return this.bytes[this.#at] ?? -1;
  }
  get atEnd(): boolean {
    return this.#at >= this.bytes.length;
  }

  /** The response code that goes with the fault, when it has one. */
  get faultCode(): string | undefined {
    return this.#faultCode;
  }

  fail(why: string, code?: string): void {
    if (this.#fault === undefined) this.#faultCode = code;
    this.#fault ??= why;
    this.#at = this.bytes.length;
  }

  /** Takes `byte` if it is next. */
  skip(byte: number): boolean {
    if (this.peek() !== byte) return false;
    this.#at++;
    return true;
  }
  expect(byte: number): void {
    if (!this.skip(byte)) this.fail(`expected ${JSON.stringify(String.fromCharCode(byte))}`);
  }
  /** One space; clients that send several are tolerated. */
  space(): void {
    this.expect(SP);
    while (this.skip(SP));
  }
  /** The end of the command. Trailing spaces are tolerated (Outlook, some phones). */
  end(): void {
    while (this.skip(SP));
    if (!this.atEnd) this.fail("unexpected characters at the end");
  }

  /** True when nothing but spaces is left. */
  get atRest(): boolean {
    let at = this.#at;
    while (this.bytes[at] === SP) at++;
    return at >= this.bytes.length;
  }
  /** A parenthesis that was opened before these bytes. */
  reopen(): void {
    this.#depth++;
  }

  open(): boolean {
    if (this.peek() !== openParen) return false;
    if (++this.#depth > this.#nestingMax) {
      this.fail(`parentheses deeper than ${this.#nestingMax}`);
      return false;
    }
    this.#at++;
    while (this.skip(SP));
    return true;
  }
  /** Takes a closing parenthesis, with the spaces that some clients leave before it. */
  close(): boolean {
    const from = this.#at;
    while (this.skip(SP));
    if (this.skip(closeParen)) {
      this.#depth--;
      return true;
    }
    this.#at = from;
    return false;
  }
  /**
   * `(item SP item …)`. `item` must consume something or fail.
   * @returns How many items there were.
   */
  list(item: () => void): number {
    if (!this.open()) {
      this.fail("expected a parenthesised list");
      return 0;
    }
    let count = 0;
    while (!this.close()) {
      if (this.atEnd) this.fail("list is not closed");
      if (count > 0) this.space();
      if (!this.ok) return count;
      item();
      count++;
    }
    return count;
  }

  tag(): string {
    return this.#run(isTagChar, "expected a tag");
  }
  atom(): string {
    return this.#run(isAtomChar, "expected an atom");
  }
  /** An atom in upper case: command names, item names, keys. */
  word(): string {
    return this.atom().toUpperCase();
  }
  /** The atom that `word()` would give, without moving. */
  peekWord(): string {
    let end = this.#at;
    while (isAtomChar(this.bytes[end] ?? 0)) end++;
    return this.#ascii(this.#at, end).toUpperCase();
  }
  /** Letters, digits, dots and dashes in upper case: names that end at `[`, `<` or a space. */
  itemName(): string {
    return this.#run(isItemChar, "expected a name").toUpperCase();
  }
  /** A flag keyword without backslash. */
  flagAtom(): string {
    return this.#run(isFlagChar, "expected a flag");
  }
  /** @param most The largest number that fits; 2^53-1 at most. */
  number(most = 0xffff_ffff): number {
    const from = this.#at;
    let value = 0;
    while (isDigit(this.peek())) {
      value = value * 10 + (this.peek() - zero);
      if (value > most) {
        this.fail("number is too large");
        return 0;
      }
      this.#at++;
    }
    if (this.#at === from) this.fail("expected a number");
    return value;
  }

  /** RFC 9051 §9 astring. */
  astring(): Uint8Array {
    return isAstringChar(this.peek()) ? this.#take(isAstringChar) : this.string();
  }
  /** RFC 9051 §9 list-mailbox: a pattern, bare or as a string. */
  listMailbox(): Uint8Array {
    return isListChar(this.peek()) ? this.#take(isListChar) : this.string();
  }
  /** Quoted or literal. */
  string(): Uint8Array {
    const next = this.peek();
    if (next === quote) return this.#quoted();
    if (next === openBrace) return this.#literal();
    this.fail("expected a string");
    return nothing;
  }
  /** String or NIL, for which undefined is given. */
  nstring(): Uint8Array | undefined {
    if (this.peekWord() === "NIL") {
      this.#at += 3;
      return undefined;
    }
    return this.string();
  }
  /** `~{n}`: a literal that may have NUL. RFC 9051 §4.3 */
  literal8(): Uint8Array {
    this.expect(tilde);
    return this.#literal(true);
  }
  /** A string or atom as text; UTF-8 is taken everywhere, broken UTF-8 is a fault. */
  text(bytes: Uint8Array): string {
    try {
      return utf8Decoder.decode(bytes);
    } catch {
      this.fail("text is not valid UTF-8");
      return "";
    }
  }
  astringText(): string {
    return this.text(this.astring());
  }

  /**
   * The literal marker that ends an unfinished command (APPEND's message comes behind it).
   * The reader has parsed its size; here only its place is checked.
   */
  finalLiteral(): void {
    this.skip(tilde);
    this.expect(openBrace);
    this.number(Number.MAX_SAFE_INTEGER);
    this.skip(plus);
    this.expect(closeBrace);
    if (!this.atEnd) this.fail("expected the end of the line behind a literal");
  }

  #run(belongs: (byte: number) => boolean, otherwise: string): string {
    const from = this.#at;
    while (belongs(this.peek())) this.#at++;
    if (this.#at === from) this.fail(otherwise);
    return this.#fault === undefined ? this.#ascii(from, this.#at) : "";
  }
  #take(belongs: (byte: number) => boolean): Uint8Array {
    const from = this.#at;
    while (belongs(this.peek())) this.#at++;
    return this.bytes.subarray(from, this.#at);
  }
  #ascii(from: number, to: number): string {
    let text = "";
    for (let i = from; i < to; i++) text += String.fromCharCode(this.bytes[i] ?? 0);
    return text;
  }

  #quoted(): Uint8Array {
    const from = ++this.#at;
    let escapes = 0;
    for (;;) {
      const byte = this.peek();
      if (byte === quote) break;
      if (byte === backslash) {
        const escaped = this.bytes[this.#at + 1];
        if (escaped !== quote && escaped !== backslash) {
          this.fail('only \\" and \\\\ may be escaped in a quoted string');
          return nothing;
        }
        escapes++;
        this.#at += 2;
        continue;
      }
      // RFC 9051 §9 TEXT-CHAR has no NUL, CR or LF (CVE-2019-11500 was a NUL in a quoted string).
      if (byte <= 0 || byte === CR || byte === LF) {
        this.fail(byte < 0 ? "quoted string is not closed" : "NUL, CR or LF in a quoted string");
        return nothing;
      }
      this.#at++;
    }
    const raw = this.bytes.subarray(from, this.#at++);
    return escapes === 0 ? raw : unescape(raw, escapes);
  }

  #literal(anyBytes = false): Uint8Array {
    this.expect(openBrace);
    const size = this.number(Number.MAX_SAFE_INTEGER);
    this.skip(plus);
    this.expect(closeBrace);
    this.skip(CR);
    this.expect(LF);
    const from = this.#at;
    if (!this.ok || from + size > this.bytes.length) {
      this.fail("literal is not complete");
      return nothing;
    }
    this.#at = from + size;
    const bytes = this.bytes.subarray(from, this.#at);
    if (!anyBytes && bytes.includes(0)) {
      this.fail("NUL in a literal"); // RFC 9051 §9 CHAR8
      return nothing;
    }
    return bytes;
  }
}

function isItemChar(byte: number): boolean {
  return (
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    isDigit(byte) ||
    byte === 0x2e ||
    byte === 0x2d
  );
}

function unescape(raw: Uint8Array, escapes: number): Uint8Array {
  const plain = new Uint8Array(raw.length - escapes);
  let to = 0;
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] === backslash) i++;
    plain[to++] = raw[i] ?? 0;
  }
  return plain;
}
