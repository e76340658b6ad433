// Decoded text of one message for SEARCH: header fields and text parts, in the form in which search
// texts are compared. Decodes only what may hold the text; large messages are read part by part.

import { isAscii } from "node:buffer";
import { asBuffer } from "../lib/bytes.ts";
import { searchNormalise } from "../mail/charset/unicode.ts";
import type { PartIndex } from "../mail/message-index.ts";
import { decodedHeaderText } from "../mail/mime/text.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { forPieces, pieceText } from "./message-pieces.ts";
import { readParts } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";

/** More text than this is decoded elsewhere, where it keeps nobody waiting. */
const ownBytesMax = 256 * 1024;

/** A header, or with `part` the body of a text part; its text once it was needed. */
interface Piece {
  readonly bytes: Buffer;
  readonly part: PartIndex | undefined;
  text: string | undefined;
  /** As it is, in lower case, once it was needed. */
  raw?: string;
  isAscii?: boolean;
}

export class MessageText {
  readonly #engine: Engine;
  readonly #body: Body;
  readonly #root: PartIndex;
  #header: Piece | undefined;
  readonly #pieces: Piece[] = [];
  /** What the body of a large message has, of the texts that were asked for. */
  readonly #answers = new Map<string, boolean>();

  constructor(engine: Engine, body: Body, fixed: StaticRow) {
    this.#engine = engine;
    this.#body = body;
    this.#root = readParts(fixed.parts);
  }

  /** Must have ended before `headerHas` and `textHas`. */
  loadHeader(): Promise<void> | undefined {
    const { headerStart, bodyStart } = this.#root;
    return this.#read(headerStart, bodyStart, (bytes) => {
      this.#header = { bytes, part: undefined, text: undefined };
    });
  }

  /**
   * Must have ended before `bodyHas` and `textHas`.
   * @param texts those that they will ask for.
   */
  loadBody(texts: readonly string[]): Promise<void> | undefined {
    const { bytes } = this.#body.kind === "bytes" ? this.#body : { bytes: undefined };
    if (bytes === undefined) return this.#loadLarge(texts);
    forPieces(this.#root, (start, end, part) => {
      const piece = asBuffer(bytes.subarray(start, end));
      this.#pieces.push({ bytes: piece, part, text: undefined });
    });
    return undefined;
  }

  /** RFC 9051 §6.4.4 HEADER: the field is there and its decoded value contains the text. */
  headerHas(name: string, text: string): boolean {
    const bytes = this.#header?.bytes;
    if (bytes === undefined) return false;
    const value = decodedHeaderText(bytes, name);
    return value !== undefined && (text === "" || searchNormalise(value).includes(text));
  }

  bodyHas(text: string): boolean {
    const known = this.#answers.get(text);
    if (known !== undefined) return known;
    // Between two parts there is a line end.
    if (text.includes("\n")) return this.#pieces.map(textOf).join("\n").includes(text);
    if (text === "") return true;
    for (const piece of this.#pieces) if (pieceHas(piece, text)) return true;
    return false;
  }

  textHas(text: string): boolean {
    return (this.#header !== undefined && pieceHas(this.#header, text)) || this.bodyHas(text);
  }

  async #loadLarge(texts: readonly string[]): Promise<void> {
    const { textScan } = this.#engine;
    await this.#readAll();
    const bytes = this.#pieces.reduce((sum, piece) => sum + piece.bytes.length, 0);
    if (textScan === undefined || bytes <= ownBytesMax) return;
    const has = await textScan(this.#pieces.splice(0), texts);
    if (has === undefined) return this.#readAll();
    for (const [at, text] of texts.entries()) this.#answers.set(text, has[at] === true);
  }

  async #readAll(): Promise<void> {
    const wanted: { start: number; end: number; part: PartIndex | undefined }[] = [];
    forPieces(this.#root, (start, end, part) => wanted.push({ start, end, part }));
    for (const { start, end, part } of wanted) {
      await this.#read(start, end, (bytes) => this.#pieces.push({ bytes, part, text: undefined }));
    }
  }

  #read(start: number, end: number, use: (bytes: Buffer) => void): Promise<void> | undefined {
    if (this.#body.kind === "blob") {
      const { id } = this.#body;
      return this.#engine.bodies
        .readBlob(id, start, end - start)
        .then((bytes) => use(asBuffer(bytes)));
    }
    use(asBuffer(this.#body.bytes.subarray(start, end)));
    return undefined;
  }
}

function pieceHas(piece: Piece, text: string): boolean {
  if (piece.text === undefined && lacks(piece, text)) return false;
  return textOf(piece).includes(text);
}

function textOf(piece: Piece): string {
  piece.text ??= pieceText(piece.bytes, piece.part);
  return piece.text;
}

/** True when the undecoded bytes show that a text is not in the piece. */
function lacks(piece: Piece, text: string): boolean {
  for (const word of text.split(" ")) {
    if (word !== "" && (isWord.test(word) || isForeign.test(word)) && lacksWord(piece, word)) {
      return true;
    }
  }
  return false;
}

/** Nothing that ASCII bytes can stand for, unless they are encoded. */
const isForeign = /^[^\x00-\x7f]+$/;
/** Small ASCII letters and digits, with what may be between them and is never folded or decoded. */
const isWord = /^[a-z0-9@._-]+$/;
/** Charsets in which ASCII bytes are ASCII text and nothing else. */
const asciiCharset =
  /^(?:utf-?8|us-ascii|ascii|iso-8859-\d+|windows-125\d|koi8-r|euc-kr|ks_c_5601-1987|cp949|euc-jp|gbk|gb2312|gb18030|big5)$/;

/**
 * True when the undecoded bytes show that a word is not in the piece. Other bytes than ASCII may
 * become ASCII (full width letters), so that nothing is said of them.
 */
function lacksWord(piece: Piece, word: string): boolean {
  const { bytes, part } = piece;
  piece.isAscii ??= isAscii(bytes);
  if (!piece.isAscii) return false;
  if (part !== undefined && !(part.charset === undefined || asciiCharset.test(part.charset))) {
    return false;
  }
  piece.raw ??= bytes.toString("latin1").toLowerCase();
  const { raw } = piece;
  if (raw.includes(word)) return false;
  // RFC 2047 words, and RFC 2231 values in pieces.
  if (part === undefined) return !raw.includes("=?") && !raw.includes("*");
  switch (part.encoding) {
    case "":
    case "7bit":
    case "8bit":
    case "binary":
      break;
    case "quoted-printable":
      if (raw.includes("=")) return false;
      break;
    default:
      return false;
  }
  return part.type !== "text/html" || !mayAppear(raw, word);
}

/** Whether taking out tags and entities may put the word together. */
function mayAppear(html: string, word: string): boolean {
  if (html.includes("&#") || html.includes("&trade")) return true;
  if (isForeign.test(word)) return html.includes("&");
  // Named entities that are signs of a word.
  if (word.includes(".") && html.includes("&")) return true;
  return isCutBy("<", html, word) || isCutBy("&", html, word);
}

/** A word that is cut has its beginning right in front of a tag or an entity. */
function isCutBy(mark: string, html: string, word: string): boolean {
  for (let at = html.indexOf(mark); at >= 0; at = html.indexOf(mark, at + 1)) {
    const before = html.charCodeAt(at - 1);
    if (before <= 0x20 || before === greaterThan) continue;
    for (let length = 1; length < word.length; length++) {
      if (word.charCodeAt(length - 1) !== before) continue;
      if (html.startsWith(word.slice(0, length), at - length)) return true;
    }
  }
  return false;
}

const greaterThan = 0x3e;
