// Passes the store's rendered FETCH chunks to the client: adds `* n FETCH (` and `)`, drops the UID
// where it was not asked for, and notes which messages have no \Seen yet. No object, string or
// promise per message. RFC 9051 §7.5.2

import { assert } from "../../lib/assert.ts";
import type { FetchChunk } from "../../mail/mail-store.ts";
import type { Output } from "./output.ts";
import { closeParen, openParen, SP } from "./syntax/characters.ts";
import { SequenceWalk } from "./view.ts";
import type { View } from "./view.ts";

export interface AnswerOptions {
  /** Leave `UID n` in. */
  readonly showUid: boolean;
  /** UIDFETCH with the UID in the place of the message number. RFC 9586 §3.3 */
  readonly uidOnly: boolean;
  /** FLAGS were asked of the store to find messages without \Seen. */
  readonly findUnseen: boolean;
  /** The client asked for FLAGS, too. */
  readonly showFlags: boolean;
}

const flagsWord = bytesOf("FLAGS (");
const seenWord = bytesOf("\\Seen");

export class FetchAnswer {
  readonly #out: Output;
  readonly #options: AnswerOptions;
  readonly #walk: SequenceWalk;
  /** UIDs, ascending, of messages that were shown without \Seen. */
  readonly unseen: number[] = [];
  /** True while a message has begun and not ended: the answer can't be broken off politely. */
  insideMessage = false;
  #skipping = false;

  constructor(out: Output, view: View, options: AnswerOptions) {
    this.#out = out;
    this.#options = options;
    this.#walk = new SequenceWalk(view);
  }

  write({ uids, ends, bytes, more }: FetchChunk): void {
    let start = 0;
    for (let i = 0; i < uids.length; i++) {
      const end = ends[i] ?? 0;
      if (this.insideMessage) this.#out.range(bytes, start, end);
      else if (!this.#skipping) this.#begin(uids[i] ?? 0, bytes, start, end);
      start = end;
      if (more && i === uids.length - 1) {
        this.insideMessage = !this.#skipping;
        return;
      }
      if (!this.#skipping) this.#out.text(")\r\n");
      this.insideMessage = false;
      this.#skipping = false;
    }
  }

  /** The message in bytes[start..end). */
  #begin(uid: number, bytes: Uint8Array, start: number, end: number): void {
    const sequence = this.#walk.sequenceOf(uid);
    if (sequence === 0) {
      // A message that the client has not been told of.
      this.#skipping = true;
      return;
    }
    const uidEnd = endOfUid(bytes, start);
    let rest = uidEnd;
    const { uidOnly } = this.#options;
    this.#out.fetchStart(uidOnly ? uid : sequence, uidOnly);
    if (this.#options.findUnseen) {
      const flagsEnd = endOfFlags(bytes, uidEnd);
      if (flagsEnd < 0 || !contains(bytes, uidEnd, flagsEnd, seenWord)) this.unseen.push(uid);
      if (flagsEnd > 0 && !this.#options.showFlags) rest = flagsEnd;
    }
    if (this.#options.showUid && !uidOnly) {
      if (rest === uidEnd) rest = start;
      else this.#out.range(bytes, start, uidEnd);
    } else if (rest < end && bytes[rest] === SP) rest++;
    this.#out.range(bytes, rest, end);
  }
}

/** Index behind `UID n`, with which the message at `start` begins. */
function endOfUid(bytes: Uint8Array, start: number): number {
  assert(bytes[start] === 0x55 && bytes[start + 3] === SP, "a rendered message begins with UID");
  let at = start + 4;
  while (isDigit(bytes[at])) at++;
  return at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** Index behind ` FLAGS (…)` at `from`, -1 when it is not there. */
function endOfFlags(bytes: Uint8Array, from: number): number {
  for (let i = 0; i < flagsWord.length; i++) {
    if (bytes[from + 1 + i] !== flagsWord[i]) return -1;
  }
  assert(bytes[from + flagsWord.length] === openParen, "FLAGS are a list");
  const close = bytes.indexOf(closeParen, from + flagsWord.length);
  return close < 0 ? -1 : close + 1;
}

function contains(bytes: Uint8Array, from: number, to: number, word: Uint8Array): boolean {
  for (let at = from; at + word.length <= to; at++) {
    let i = 0;
    while (i < word.length && bytes[at + i] === word[i]) i++;
    if (i === word.length) return true;
  }
  return false;
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
