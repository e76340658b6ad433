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

  write(chunk: FetchChunk): void {
    for (const { uid, bytes, more } of chunk.parts) {
      const isFirst = !this.insideMessage && !this.#skipping;
      if (isFirst) this.#begin(uid, bytes);
      else if (!this.#skipping) this.#out.bytes(bytes);
      if (more) {
        this.insideMessage = !this.#skipping;
      } else {
        if (!this.#skipping) this.#out.text(")\r\n");
        this.insideMessage = false;
        this.#skipping = false;
      }
    }
  }

  #begin(uid: number, bytes: Uint8Array): void {
    const sequence = this.#walk.sequenceOf(uid);
    if (sequence === 0) {
      // A message that the client has not been told of.
      this.#skipping = true;
      return;
    }
    const uidEnd = endOfUid(bytes);
    let rest = uidEnd;
    const { uidOnly } = this.#options;
    this.#out.fetchStart(uidOnly ? uid : sequence, uidOnly);
    if (this.#options.findUnseen) {
      const flagsEnd = endOfFlags(bytes, uidEnd);
      if (flagsEnd < 0 || !contains(bytes, uidEnd, flagsEnd, seenWord)) this.unseen.push(uid);
      if (flagsEnd > 0 && !this.#options.showFlags) rest = flagsEnd;
    }
    if (this.#options.showUid && !uidOnly) {
      if (rest === uidEnd) rest = 0;
      else this.#out.range(bytes, 0, uidEnd);
    } else if (bytes[rest] === SP) rest++;
    this.#out.range(bytes, rest, bytes.length);
  }
}

/** Index behind `UID n`, with which each message begins. */
function endOfUid(bytes: Uint8Array): number {
  assert(bytes[0] === 0x55 && bytes[3] === SP, "a rendered message begins with UID");
  let at = 4;
  while (at < bytes.length && bytes[at] !== SP) at++;
  return at;
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
