// What becomes of a literal that a client announces: kept inside its command, streamed (APPEND's
// messages), or refused. Pure. RFC 9051 §4.3, RFC 7888; limits of docs/config.md

import type { ImapLimits } from "./limits.ts";
import { bad, no } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { endsInUrlLiteral } from "./syntax/append-parts.ts";
import { Cursor } from "./syntax/cursor.ts";
import { parseSequenceSet } from "./syntax/sequence-set.ts";

export interface LiteralOffer {
  /** The command so far, with the marker. */
  readonly text: Uint8Array;
  readonly size: number;
  readonly sync: boolean;
  /** Literals of this command that were kept. */
  readonly keptCount: number;
  readonly loggedIn: boolean;
}

export type LiteralDecision =
  | { readonly kind: "keep" }
  | { readonly kind: "stream" }
  | { readonly kind: "refuse"; readonly reply: Reply };

export function decideLiteral(offer: LiteralOffer, limits: ImapLimits): LiteralDecision {
  if (!offer.loggedIn) return beforeLogin(offer, limits);
  if (isMessage(offer.text, limits.nestingMax)) return { kind: "stream" };
  const reply = refuseKept(offer, limits);
  return reply === undefined ? { kind: "keep" } : refuse(reply);
}

/** A literal that is kept inside its command, after login; undefined when it may be. */
export function refuseKept(
  offer: Pick<LiteralOffer, "text" | "size" | "sync">,
  limits: ImapLimits,
): Reply | undefined {
  // RFC 7888 §5: a client that doesn't wait can't be stopped, so the connection ends.
  if (!offer.sync && offer.size > limits.nonSyncLiteralBytesMax) {
    const text = `A literal without waiting has at most ${limits.nonSyncLiteralBytesMax} bytes`;
    return { ...bad(text, "TOOBIG"), bye: "Literal too large" };
  }
  if (offer.text.length + offer.size > limits.commandBytesMax) {
    const reply = no(`A command has at most ${limits.commandBytesMax} bytes`, "TOOBIG");
    return offer.sync ? reply : { ...reply, bye: "Command too large" };
  }
  return undefined;
}

function beforeLogin(offer: LiteralOffer, limits: ImapLimits): LiteralDecision {
  const tooMany = offer.keptCount >= limits.unauthenticatedLiteralsMax;
  const tooLarge = offer.size > limits.unauthenticatedLiteralBytesMax;
  const tooLong = offer.text.length + offer.size > limits.unauthenticatedCommandBytesMax;
  if (!tooMany && !tooLarge && !tooLong) return { kind: "keep" };
  const text =
    `Before login a command has at most ${limits.unauthenticatedLiteralsMax} literals ` +
    `of ${limits.unauthenticatedLiteralBytesMax} bytes`;
  return refuse({ ...bad(text, "TOOBIG"), bye: "Literal refused" });
}

/** True when `text` is an APPEND or REPLACE whose mailbox name is complete: a message comes next. */
function isMessage(text: Uint8Array, nestingMax: number): boolean {
  const cursor = new Cursor(text, nestingMax);
  cursor.tag();
  cursor.space();
  let word = cursor.word();
  if (word === "UID") {
    cursor.space();
    word = cursor.word();
    if (word === "APPEND") return false;
  }
  if (word !== "APPEND" && word !== "REPLACE") return false;
  if (endsInUrlLiteral(text)) return false; // RFC 4469: a URL is part of the command.
  cursor.space();
  if (word === "REPLACE") {
    parseSequenceSet(cursor);
    cursor.space();
  }
  cursor.astring();
  return cursor.ok && !cursor.atEnd;
}

function refuse(reply: Reply): LiteralDecision {
  return { kind: "refuse", reply };
}
