// What comes behind the mailbox of APPEND and REPLACE, one stretch between two literals at a time:
// flags, date, and what the message is made of. Pure. RFC 9051 §6.3.12, RFC 3502, RFC 4469 §5

import type { ZonedTime } from "../../../mail/dates.ts";
import { closeParen, openParen, quote } from "./characters.ts";
import type { Cursor } from "./cursor.ts";
import { dateTimeArgument } from "./date-time.ts";
import { parseFlags } from "./flags.ts";

export interface AppendHead {
  readonly flags: readonly string[];
  readonly date: ZonedTime | undefined;
}

export type AppendStep =
  /** A message begins. */
  | { readonly kind: "message"; readonly head: AppendHead }
  /** A part of a CATENATE message. */
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "end" };

/** What the literal at the end of a stretch is, and with it how the next stretch begins. */
export type AppendLiteral =
  | "message"
  /** `UTF8 (~{n}…)`: a parenthesis closes behind the literal. RFC 6855 §4 */
  | "wrapped"
  /** A TEXT of CATENATE. */
  | "text";

export interface AppendStretch {
  readonly steps: readonly AppendStep[];
  /** Undefined: the command ends here. */
  readonly literal: AppendLiteral | undefined;
}

const partsMax = 1000;

/**
 * Parses to the end of the text.
 * @param behind The literal before; undefined at the start of the command's messages.
 * @param utf8 UTF8=ACCEPT is enabled.
 */
export function parseAppendStretch(
  cursor: Cursor,
  behind: AppendLiteral | undefined,
  utf8: boolean,
): AppendStretch {
  const steps: AppendStep[] = [];
  if (behind === "wrapped") cursor.expect(closeParen);
  if (behind === "message" || behind === "wrapped") steps.push({ kind: "end" });
  let inParts = behind === "text";
  let isFirst = behind === undefined;
  while (cursor.ok) {
    if (steps.length > partsMax) cursor.fail(`more than ${partsMax} parts`);
    if (inParts) {
      if (parseParts(cursor, steps)) return { steps, literal: "text" };
      inParts = false;
    } else {
      if (!isFirst && cursor.atRest) break;
      cursor.space();
      steps.push({ kind: "message", head: parseHead(cursor) });
      const literal = parseBody(cursor, utf8);
      if (literal !== "parts") return { steps, literal };
      inParts = true;
    }
    isFirst = false;
  }
  cursor.end();
  return { steps, literal: undefined };
}

/** ` (flags) "date" `. */
function parseHead(cursor: Cursor): AppendHead {
  let flags: readonly string[] = [];
  let date: ZonedTime | undefined;
  if (cursor.peek() === openParen) {
    flags = parseFlags(cursor, false);
    cursor.space();
  }
  if (cursor.peek() === quote) {
    date = dateTimeArgument(cursor);
    cursor.space();
  }
  return { flags, date };
}

function parseBody(cursor: Cursor, utf8: boolean): AppendLiteral | "parts" {
  const word = cursor.peekWord();
  if (word === "CATENATE") {
    cursor.word();
    cursor.space();
    if (!cursor.open()) cursor.fail("expected the parts of the message");
    return "parts";
  }
  if (word === "UTF8") {
    if (!utf8) cursor.fail("UTF8=ACCEPT is not enabled");
    cursor.word();
    cursor.space();
    if (!cursor.open()) cursor.fail("expected a parenthesis");
  }
  cursor.finalLiteral();
  return word === "UTF8" ? "wrapped" : "message";
}

/** `URL url TEXT {n}`, or to the closing parenthesis. True when a TEXT literal follows. */
function parseParts(cursor: Cursor, steps: AppendStep[]): boolean {
  while (cursor.ok && !cursor.close()) {
    if (cursor.bytes[cursor.at - 1] !== openParen) cursor.space();
    const word = cursor.word();
    cursor.space();
    if (word === "TEXT") {
      cursor.finalLiteral();
      return true;
    }
    if (word !== "URL") cursor.fail("expected URL or TEXT");
    steps.push({ kind: "url", url: cursor.astringText() });
    if (steps.length > partsMax) cursor.fail(`more than ${partsMax} parts`);
  }
  steps.push({ kind: "end" });
  return false;
}

/** True when the text ends in the literal of a CATENATE URL, which belongs to the command. */
export function endsInUrlLiteral(text: Uint8Array): boolean {
  const tail = Buffer.from(text.subarray(-40)).toString("latin1");
  return /[ (]URL \{\d+\+?\}$/i.test(tail);
}
