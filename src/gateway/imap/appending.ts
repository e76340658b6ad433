// Takes in the messages of APPEND and REPLACE and stores them. Literals are streamed: small messages
// into memory, large ones to the store while they arrive. Size, mailbox and quota are checked before
// the client is asked to send. RFC 9051 §6.3.12, RFC 3502, RFC 4469, RFC 6855 §4, RFC 7889

import { MailError } from "../../mail/errors.ts";
import type { AppendMessage, AppendOutcome, AppendRequest } from "../../mail/mail-store.ts";
import { BadUrl, urlBytes } from "./catenate-url.ts";
import { InputEnded } from "./input.ts";
import { refuseKept } from "./literal-policy.ts";
import { MessageSink } from "./message-sink.ts";
import { bad, no } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { AnnouncedLiteral, Session } from "./session.ts";
import { endsInUrlLiteral, parseAppendStretch } from "./syntax/append-parts.ts";
import type { AppendHead, AppendLiteral, AppendStretch } from "./syntax/append-parts.ts";
import { Cursor } from "./syntax/cursor.ts";

/** Bytes of all messages of one APPEND that are held in memory; further ones are streamed. */
const inlineTotalMax = 1024 * 1024;

/** Parses the first stretch, up to the first literal or the end of the command. */
export function parseFirstStretch(cursor: Cursor, session: Session): AppendStretch {
  const stretch = parseAppendStretch(cursor, undefined, session.utf8Accept);
  if (stretch.literal !== undefined && session.announced === undefined) {
    cursor.fail("expected a message as a literal");
  }
  return stretch;
}

export class Appending {
  readonly #session: Session;
  readonly #mailbox: string;
  readonly #messagesMax: number;
  readonly #messages: AppendMessage[] = [];
  #totalBytes = 0;
  #inlineBytes = 0;
  #open: { readonly head: AppendHead; readonly sink: MessageSink } | undefined;

  /** @param messagesMax 1 for REPLACE, whose room is that of the message it replaces. */
  constructor(session: Session, mailbox: string, messagesMax: number) {
    this.#session = session;
    this.#mailbox = mailbox;
    this.#messagesMax = messagesMax;
  }

  /** Takes in all messages. A reply when the command is refused; what it still sends is then skipped. */
  async receive(first: AppendStretch): Promise<Reply | undefined> {
    try {
      let stretch: AppendStretch | undefined = first;
      while (stretch !== undefined) {
        const refusal: Reply | undefined = await this.#take(stretch);
        if (refusal !== undefined) return refusal;
        if (stretch.literal === undefined) return undefined;
        const next: AppendStretch | Reply = await this.#next(stretch.literal);
        if ("status" in next) return next;
        stretch = next;
      }
      return undefined;
    } catch (error) {
      if (!(error instanceof BadUrl)) throw error;
      // RFC 4469 §4: the URL that failed is named.
      const url = error.url.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&");
      return no(`A part can't be had: ${error.message}`, `BADURL "${url}"`);
    } finally {
      this.#open?.sink.cancel();
    }
  }

  store(replaces?: AppendRequest["replaces"]): Promise<AppendOutcome> {
    const { services, principal, signal } = this.#session;
    const request = {
      mailbox: this.#mailbox,
      messages: this.#messages,
      ...(replaces === undefined ? {} : { replaces }),
      ...this.#session.change(),
    };
    return services.store.append(principal, request, signal);
  }

  async #take({ steps, literal }: AppendStretch): Promise<Reply | undefined> {
    for (const step of steps) {
      switch (step.kind) {
        case "message": {
          const refusal = this.#begin(step.head);
          if (refusal !== undefined) return refusal;
          break;
        }
        case "url": {
          const refusal = await this.#addUrl(step.url);
          if (refusal !== undefined) return refusal;
          break;
        }
        case "end": {
          const refusal = await this.#finish();
          if (refusal !== undefined) return refusal;
        }
      }
    }
    return literal === undefined ? undefined : this.#addLiteral(literal);
  }

  #begin(head: AppendHead): Reply | undefined {
    const most = this.#messagesMax;
    if (this.#messages.length >= most)
      return no(`At most ${most} messages in one command`, "LIMIT");
    const { services, principal, signal, limits } = this.#session;
    const inline = Math.min(limits.inlineBytesMax, inlineTotalMax - this.#inlineBytes);
    const sink = new MessageSink(inline, async (chunks) => {
      const id = services.nextDeliveryId();
      const blob = await services.store.writeBlob(principal.shard, id, chunks, signal);
      return { kind: "blob", blob };
    });
    this.#open = { head, sink };
    return undefined;
  }

  async #finish(): Promise<Reply | undefined> {
    const open = this.#open;
    if (open === undefined) return undefined;
    const { head, sink } = open;
    if (sink.bytes === 0) return no("An empty message can't be stored"); // RFC 3502 §6.3.11: aborts
    this.#inlineBytes += sink.inlineBytes;
    const { source, index } = await sink.finish();
    this.#open = undefined;
    const { flags, date } = head;
    const dated =
      date === undefined ? {} : { internalDateMs: date.ms, internalDateZone: date.zoneMinutes };
    this.#messages.push({ source, index, flags, ...dated });
    return undefined;
  }

  async #addUrl(url: string): Promise<Reply | undefined> {
    for await (const piece of urlBytes(this.#session, url)) {
      const refusal = this.#tooBig(piece.length);
      if (refusal !== undefined) return refusal;
      this.#totalBytes += piece.length;
      await this.#open?.sink.push(piece);
    }
    return undefined;
  }

  async #addLiteral(kind: AppendLiteral): Promise<Reply | undefined> {
    const session = this.#session;
    const literal = session.announced;
    if (literal === undefined) return bad("Expected a message as a literal");
    if (literal.size === 0 && kind !== "text") return no("An empty message can't be stored");
    const refusal = this.#tooBig(literal.size) ?? (await this.#check(literal));
    if (refusal !== undefined) return refusal;
    if (literal.sync) session.out.text("+ Ready for the message\r\n").end();
    session.announced = undefined;
    this.#totalBytes += literal.size;
    const { sink } = this.#open ?? {};
    if (sink === undefined) return bad("Expected a message");
    for await (const piece of session.input.literal(literal.size)) {
      // A small piece keeps no large chunk of the socket alive.
      await sink.push(piece.length < piece.buffer.byteLength / 2 ? Uint8Array.from(piece) : piece);
    }
    return undefined;
  }

  #tooBig(moreBytes: number): Reply | undefined {
    const most = this.#session.limits.messageBytesMax;
    const bytes = (this.#open?.sink.bytes ?? 0) + moreBytes;
    return bytes > most ? no(`The message is larger than ${most} bytes`, "TOOBIG") : undefined;
  }

  /** Refuses early what the store would refuse, as long as the client still waits. */
  async #check({ size, sync }: AnnouncedLiteral): Promise<Reply | undefined> {
    const { services, principal, signal } = this.#session;
    // A client that doesn't wait gains nothing from an early look: the store checks again anyway.
    if (!sync) return undefined;
    const [, quota] = await Promise.all([
      services.store.mailboxStatus(principal, this.#mailbox, signal),
      services.store.quota(principal, signal),
    ]);
    if (this.#messagesMax === 1) return undefined;
    const { limitBytes, limitMessages } = quota;
    if (limitBytes > 0 && quota.usedBytes + this.#totalBytes + size > limitBytes) {
      throw new MailError({ code: "OVER_QUOTA", limitBytes });
    }
    if (limitMessages > 0 && quota.usedMessages + this.#messages.length >= limitMessages) {
      throw new MailError({ code: "OVER_QUOTA", limitMessages });
    }
    return undefined;
  }

  /** The stretch behind a literal, or a refusal. */
  async #next(behind: AppendLiteral): Promise<AppendStretch | Reply> {
    const session = this.#session;
    const { limits, out, input } = session;
    for (;;) {
      const event = await input.next(limits.commandBytesMax);
      if (event.kind === "end" || event.kind === "data") throw new InputEnded();
      if (event.kind === "tooLong") return { ...bad("The command is too long"), bye: "Too long" };
      if (event.kind === "literal" && endsInUrlLiteral(event.text)) {
        const refusal = refuseKept(event, limits);
        if (refusal === undefined) {
          input.keepLiteral();
          if (event.sync) out.text("+ Ready for the literal\r\n").end();
          continue;
        }
        session.announced = { size: event.size, sync: event.sync };
        return refusal;
      }
      if (event.kind === "literal") session.announced = { size: event.size, sync: event.sync };
      const cursor = new Cursor(event.text, limits.nestingMax);
      if (behind === "text") cursor.reopen();
      const stretch = parseAppendStretch(cursor, behind, session.utf8Accept);
      if ((stretch.literal === undefined) !== (event.kind === "command")) {
        cursor.fail("unexpected literal");
      }
      return cursor.fault === undefined ? stretch : bad(cursor.fault);
    }
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
