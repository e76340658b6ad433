// Parses address lists of header fields (From, To, …) from binary text, as tolerant as mail in the
// wild needs: groups, routes, comments, missing hosts, unquoted specials. SMTP's strict addresses
// are mail/address.ts's business.

import { commentEnd, unquote } from "./content-fields.ts";
import { isBlank, oneLine } from "./imap-writer.ts";

/** A mailbox, or one of the two marks around a group's members. Text is binary, quotes removed. */
export type ListedAddress =
  | {
      readonly kind: "mailbox";
      readonly name: string | undefined;
      /** Obsolete source route, `@a,@b`. RFC 5322 §4.4 */
      readonly route: string | undefined;
      readonly local: string;
      readonly host: string | undefined;
    }
  | { readonly kind: "groupStart"; readonly name: string }
  | { readonly kind: "groupEnd" };

/** The addresses of one or more field values, at most `countMax`. RFC 5322 §3.4, §4.4 */
export function parseAddressList(text: string, countMax: number): readonly ListedAddress[] {
  return new AddressListParser(text, countMax).parse();
}

/** Words up to a special character: as a phrase, and as a local part. */
interface Words {
  readonly spaced: string;
  readonly joined: string;
  /** There was a quoted string. */
  readonly quoted: boolean;
  /** More than one word, and no dots between them. */
  readonly phrase: boolean;
}

const specialOfPhrase = new Set([0x2c, 0x3b, 0x3a, 0x3c, 0x40, 0x22, 0x28]); // , ; : < @ " (
const specialOfLocal = new Set([0x40, 0x3e, 0x22, 0x28]); // @ > " (
const specialOfDomain = new Set([0x2c, 0x3b, 0x3e, 0x3c, 0x28, 0x40]); // , ; > < ( @
const encodedWordBytesMax = 1000;

/** Reads once from left to right; every look ahead that may fail is switched off after it failed. */
class AddressListParser {
  readonly #text: string;
  readonly #countMax: number;
  readonly #found: ListedAddress[] = [];
  #at = 0;
  #comment: string | undefined;
  #inGroup = false;
  #unclosedQuote = false;
  #unclosedComment = false;

  constructor(text: string, countMax: number) {
    this.#text = text;
    this.#countMax = countMax;
  }

  parse(): readonly ListedAddress[] {
    while (this.#at < this.#text.length && this.#found.length < this.#countMax) this.#step();
    if (this.#inGroup) this.#found.push({ kind: "groupEnd" });
    return this.#found;
  }

  /** One address, or the beginning or end of a group. */
  #step(): void {
    this.#comment = undefined;
    const words = this.#words(specialOfPhrase);
    switch (this.#text[this.#at++]) {
      case "<":
        this.#angle(words.spaced);
        break;
      case "@":
        this.#plain(words, this.#domain(specialOfDomain));
        this.#skipTo(",;");
        break;
      case ":":
        // A second colon inside a group is dirt.
        if (!this.#inGroup) this.#found.push({ kind: "groupStart", name: words.spaced });
        this.#inGroup = true;
        return;
      case ";":
        this.#bare(words);
        if (this.#inGroup) this.#found.push({ kind: "groupEnd" });
        this.#inGroup = false;
        return;
      default:
        this.#bare(words);
    }
  }

  #bare(words: Words): void {
    if (words.joined === "") return;
    // A quoted string alone is rather a name that lost its address.
    if (words.quoted) this.#mailbox(words.spaced, undefined, "", undefined);
    else this.#plain(words, undefined);
  }

  /** Several words are no local part but a name, and what is behind them no address: as Dovecot has it. */
  #plain(words: Words, host: string | undefined): void {
    if (words.phrase) this.#mailbox(words.spaced, undefined, "", undefined);
    else this.#mailbox(undefined, undefined, words.joined, host);
  }

  /** `[route:]local@host>`; the `<` is behind us. */
  #angle(name: string): void {
    let route: string | undefined;
    this.#blanks();
    if (this.#text[this.#at] === "@") {
      const colon = this.#text.indexOf(":", this.#at);
      const close = this.#text.indexOf(">", this.#at);
      if (colon >= 0 && (close < 0 || colon < close)) {
        route = withoutBlanks(this.#text.slice(this.#at, colon));
        this.#at = colon + 1;
      }
    }
    const local = this.#words(specialOfLocal).joined;
    let host: string | undefined;
    if (this.#text[this.#at] === "@") {
      this.#at++;
      host = this.#domain(specialOfDomain);
    }
    const close = this.#closing();
    if (close >= 0) this.#at = close + 1;
    if (name !== "" || local !== "" || host !== undefined) {
      this.#mailbox(name === "" ? undefined : name, route, local, host);
    }
    this.#skipTo(",;");
  }

  /** Where the `>` of this address is: right here, or before the next separator. */
  #closing(): number {
    for (let i = this.#at; i < this.#text.length; i++) {
      const code = this.#text.charCodeAt(i);
      if (code === 0x3e) return i;
      if (code === 0x2c || code === 0x3b) return -1;
    }
    return -1;
  }

  #mailbox(
    name: string | undefined,
    route: string | undefined,
    local: string,
    host: string | undefined,
  ): void {
    // RFC 822 §A.1.2 habit: `jdoe@example.org (John Doe)`; the comment is the name.
    const shown = name ?? this.#comment;
    this.#found.push({
      kind: "mailbox",
      name: shown === "" ? undefined : shown,
      route,
      local,
      host: host === "" ? undefined : host,
    });
  }

  /** Words up to one of `ends`: `spaced` as a phrase, `joined` as a local part. */
  #words(ends: ReadonlySet<number>): Words {
    let spaced = "";
    let joined = "";
    let quoted = false;
    let phrase = false;
    let blankBefore = false;
    for (;;) {
      if (this.#blanks()) blankBefore = true;
      const start = this.#at;
      const code = this.#text.charCodeAt(start);
      if (start >= this.#text.length) break;
      let word: string;
      if (code === 0x22) {
        word = this.#quoted();
        quoted = true;
      } else if (code === 0x28 || !ends.has(code)) {
        word = this.#atom(ends);
      } else {
        break;
      }
      // RFC 5322 §4.4: blanks around the dots of a local part are obsolete, and understood.
      if (blankBefore && joined !== "" && !joined.endsWith(".") && !word.startsWith(".")) {
        phrase = true;
      }
      spaced += blankBefore && spaced !== "" ? ` ${word}` : word;
      joined += word;
      blankBefore = false;
    }
    return { spaced, joined, quoted, phrase };
  }

  #quoted(): string {
    const start = this.#at;
    for (let i = start + 1; i < this.#text.length && !this.#unclosedQuote; i++) {
      const code = this.#text.charCodeAt(i);
      if (code === 0x5c) {
        i++;
      } else if (code === 0x22) {
        this.#at = i + 1;
        return unquote(this.#text, start + 1, i);
      }
    }
    this.#unclosedQuote = true;
    this.#at = start + 1;
    return "";
  }

  #atom(ends: ReadonlySet<number>): string {
    const start = this.#at;
    // An encoded word may hold commas that should have been encoded; it is kept in one piece.
    const word = this.#encodedWordEnd(start);
    if (word > 0) {
      this.#at = word;
      return this.#text.slice(start, word);
    }
    let i = start + 1;
    for (; i < this.#text.length; i++) {
      const code = this.#text.charCodeAt(i);
      if (ends.has(code) || isBlank(code)) break;
    }
    this.#at = i;
    return this.#text.slice(start, i);
  }

  #encodedWordEnd(at: number): number {
    const text = this.#text;
    if (text.charCodeAt(at) !== 0x3d || text.charCodeAt(at + 1) !== 0x3f) return -1;
    const most = Math.min(text.length, at + encodedWordBytesMax);
    let marks = 0;
    for (let i = at + 2; i < most; i++) {
      const code = text.charCodeAt(i);
      if (isBlank(code)) return -1;
      if (code !== 0x3f) continue;
      marks++;
      if (marks >= 3 && text.charCodeAt(i + 1) === 0x3d) return i + 2;
    }
    return -1;
  }

  #domain(ends: ReadonlySet<number>): string {
    let host = "";
    for (;;) {
      const blanks = this.#blanks();
      const start = this.#at;
      // Blanks end it, but for those around a dot (RFC 5322 §4.4).
      if (blanks && host !== "" && !host.endsWith(".") && this.#text[start] !== ".") return host;
      let i = start;
      for (; i < this.#text.length; i++) {
        const code = this.#text.charCodeAt(i);
        if (ends.has(code) || isBlank(code)) break;
      }
      if (i === start) return host;
      host += this.#text.slice(start, i);
      this.#at = i;
    }
  }

  /** Over blanks and comments; remembers the last comment's text. True when there were any. */
  #blanks(): boolean {
    const start = this.#at;
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (isBlank(code)) {
        this.#at++;
      } else if (code === 0x28 && !this.#unclosedComment) {
        const end = commentEnd(this.#text, this.#at);
        if (end < 0) {
          this.#unclosedComment = true;
        } else {
          this.#comment = oneLine(unquote(this.#text, this.#at + 1, end - 1));
          this.#at = end;
        }
      } else {
        return this.#at > start;
      }
    }
  }

  /** Drops dirt behind an address, up to and over a comma, or up to a semicolon. Keeps comments. */
  #skipTo(separators: string): void {
    while (this.#at < this.#text.length) {
      this.#blanks();
      const char = this.#text[this.#at] ?? "";
      if (separators.includes(char)) {
        if (char === ",") this.#at++;
        return;
      }
      this.#at++;
    }
  }
}

function withoutBlanks(text: string): string {
  return text.replaceAll(/[ \t\r\n]+/g, "");
}
