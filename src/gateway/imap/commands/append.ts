// APPEND with one or many messages. Literals are streamed: small ones into memory, large ones to the
// store while they arrive; both are indexed on the way. Size, mailbox and quota are checked before
// the client is asked to send. RFC 9051 §6.3.12, RFC 3502, RFC 4315, RFC 6855 §4, RFC 7889

import { command, loggedIn } from "../command.ts";
import { InputEnded } from "../input.ts";
import { parseMailbox } from "../names.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { AnnouncedLiteral, Session } from "../session.ts";
import { closeParen, openParen, quote } from "../syntax/characters.ts";
import { Cursor } from "../syntax/cursor.ts";
import { dateTimeArgument } from "../syntax/date-time.ts";
import { parseFlags } from "../syntax/flags.ts";
import type { ZonedTime } from "../../../mail/dates.ts";
import { MailError } from "../../../mail/errors.ts";
import type { AppendMessage, MessageSource } from "../../../mail/mail-store.ts";
import { MessageIndexer } from "../../../mail/mime/indexer.ts";
import { uidSetFromSorted, uidSetText } from "../../../mail/uid-set.ts";

interface Head {
  readonly flags: readonly string[];
  readonly date: ZonedTime | undefined;
  /** `UTF8 (~{n}…)`: a parenthesis closes behind the literal. RFC 6855 §4 */
  readonly wrapped: boolean;
}

/** Bytes of all messages of one APPEND that are held in memory; further ones are streamed. */
const inlineTotalMax = 1024 * 1024;

export const append = command({
  name: "APPEND",
  states: loggedIn,
  missing: "TRYCREATE",
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseMailbox(cursor, session);
    const head = parseHead(cursor, session);
    if (session.announced === undefined) cursor.fail("expected a message as a literal");
    return { mailbox, head };
  },
  async run(session, { mailbox, head }) {
    const appending = new Appending(session, mailbox());
    const refusal = await appending.receive(head);
    return refusal ?? appending.store();
  },
});

class Appending {
  readonly #session: Session;
  readonly #mailbox: string;
  readonly #messages: AppendMessage[] = [];
  #totalBytes = 0;
  #inlineBytes = 0;

  constructor(session: Session, mailbox: string) {
    this.#session = session;
    this.#mailbox = mailbox;
  }

  /** Takes in all messages. A reply when the command is refused; what it still sends is then skipped. */
  async receive(first: Head): Promise<Reply | undefined> {
    const session = this.#session;
    let head: Head | undefined = first;
    while (head !== undefined) {
      const literal = session.announced;
      if (literal === undefined) return bad("Expected a message as a literal");
      const refusal = await this.#check(literal);
      if (refusal !== undefined) return refusal;
      if (literal.sync) session.out.text("+ Ready for the message\r\n").end();
      session.announced = undefined;
      this.#messages.push(await this.#message(head, literal.size));
      const next: Head | Reply | undefined = await this.#next(head);
      if (next !== undefined && "status" in next) return next;
      head = next;
    }
    return undefined;
  }

  async store(): Promise<Reply> {
    const session = this.#session;
    const { store } = session.services;
    const outcome = await store.append(
      session.principal,
      { ...session.change(), mailbox: this.#mailbox, messages: this.#messages },
      session.signal,
    );
    // RFC 9051 §6.3.12: in the selected mailbox the new message is told at once.
    if (outcome.mailbox === session.selected?.id) session.selected.markStale();
    const uids = uidSetText(uidSetFromSorted(outcome.uids));
    return ok("APPEND completed", `APPENDUID ${outcome.uidValidity} ${uids}`);
  }

  async #check({ size, sync }: AnnouncedLiteral): Promise<Reply | undefined> {
    const { limits, services, principal, signal } = this.#session;
    if (size > limits.messageBytesMax) {
      return no(`The message is larger than ${limits.messageBytesMax} bytes`, "TOOBIG");
    }
    if (size === 0) return no("An empty message can't be stored"); // RFC 3502 §6.3.11: aborts
    if (this.#messages.length >= limits.appendMessagesMax) {
      return no(`At most ${limits.appendMessagesMax} messages in one APPEND`, "LIMIT");
    }
    this.#totalBytes += size;
    // A client that doesn't wait gains nothing from an early look: the store checks again anyway.
    if (!sync) return undefined;
    const [, quota] = await Promise.all([
      services.store.mailboxStatus(principal, this.#mailbox, signal),
      services.store.quota(principal, signal),
    ]);
    const { limitBytes, limitMessages } = quota;
    if (limitBytes > 0 && quota.usedBytes + this.#totalBytes > limitBytes) {
      throw new MailError({ code: "OVER_QUOTA", limitBytes });
    }
    if (limitMessages > 0 && quota.usedMessages + this.#messages.length >= limitMessages) {
      throw new MailError({ code: "OVER_QUOTA", limitMessages });
    }
    return undefined;
  }

  async #message({ flags, date }: Head, size: number): Promise<AppendMessage> {
    const indexer = new MessageIndexer();
    const source = await this.#source(size, indexer);
    return {
      source,
      index: indexer.finish(),
      flags,
      ...(date === undefined
        ? {}
        : { internalDateMs: date.ms, internalDateZone: date.zoneMinutes }),
    };
  }

  async #source(size: number, indexer: MessageIndexer): Promise<MessageSource> {
    const { input, limits, services, principal, signal } = this.#session;
    if (size > limits.inlineBytesMax || this.#inlineBytes + size > inlineTotalMax) {
      const pieces = indexed(input.literal(size), indexer);
      const id = services.nextDeliveryId();
      const blob = await services.store.writeBlob(principal.shard, id, pieces, signal);
      return { kind: "blob", blob };
    }
    this.#inlineBytes += size;
    const bytes = new Uint8Array(size);
    let at = 0;
    for await (const piece of input.literal(size)) {
      bytes.set(piece, at);
      at += piece.length;
    }
    indexer.push(bytes);
    return { kind: "bytes", bytes };
  }

  /** What comes behind a message: the end (undefined), the next message's head, or a refusal. */
  async #next({ wrapped }: Head): Promise<Head | Reply | undefined> {
    const session = this.#session;
    const event = await session.input.next(session.limits.commandBytesMax);
    if (event.kind === "end") throw new InputEnded();
    if (event.kind === "tooLong") return { ...bad("The command is too long"), bye: "Too long" };
    if (event.kind === "data") throw new InputEnded();
    const cursor = new Cursor(event.text, session.limits.nestingMax);
    if (wrapped) cursor.expect(closeParen);
    if (event.kind === "literal") {
      session.announced = { size: event.size, sync: event.sync };
      const head = parseHead(cursor, session);
      return cursor.fault === undefined ? head : bad(cursor.fault);
    }
    cursor.end();
    return cursor.fault === undefined ? undefined : bad(cursor.fault);
  }
}

/** ` (flags) "date" {n}`, to the end of the text. */
function parseHead(cursor: Cursor, session: Session): Head {
  cursor.space();
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
  const wrapped = cursor.peekWord() === "UTF8";
  if (wrapped) {
    if (!session.utf8Accept) cursor.fail("UTF8=ACCEPT is not enabled");
    cursor.word();
    cursor.space();
    if (!cursor.open()) cursor.fail("expected a parenthesis");
  }
  cursor.finalLiteral();
  return { flags, date, wrapped };
}

async function* indexed(
  pieces: AsyncIterable<Uint8Array>,
  indexer: MessageIndexer,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of pieces) {
    indexer.push(piece);
    yield piece;
  }
}

/**
 * After a refused APPEND: reads away what the client sends without waiting, up to the end of the
 * command. False when that is too much: the session has to end (RFC 7888 §4).
 */
export async function skipRestOfAppend(session: Session): Promise<boolean> {
  const { input, limits } = session;
  let skippedBytes = 0;
  for (;;) {
    const literal = session.announced;
    session.announced = undefined;
    if (literal?.sync === true) {
      input.abandonLiteral();
      return true;
    }
    if (literal !== undefined) {
      skippedBytes += literal.size;
      if (skippedBytes > limits.messageBytesMax) return false;
      input.startSkipping();
    }
    await input.skipLiteral();
    const event = await input.next(limits.commandBytesMax);
    if (event.kind === "command") return true;
    if (event.kind !== "literal") return false;
    session.announced = { size: event.size, sync: event.sync };
  }
}
