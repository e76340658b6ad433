// IDLE: changes are told as they happen, until DONE. RFC 9051 §6.3.13

import { AssertionFailure } from "../../../lib/assert.ts";
import { isMailError } from "../../../mail/errors.ts";
import { command, loggedIn, noArguments } from "../command.ts";
import { bad, failureReply, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { Session } from "../session.ts";

export const idle = command({
  name: "IDLE",
  states: loggedIn,
  parse: noArguments,
  async run(session) {
    session.out.text("+ idling\r\n");
    const teller = new Teller(session);
    const { selected, notify } = session;
    session.idling = true;
    if (notify !== undefined) {
      // RFC 5465 §3.1: what NOTIFY asks for is told here, too, and nothing else.
      session.out.end();
      session.busy = false;
      notify.selectedAnew();
    } else if (selected !== undefined) {
      selected.onMoved = () => teller.tell(false);
      teller.tell(true);
    }
    session.onKeepAlive = () => teller.keepAlive();
    try {
      const event = await session.input.line(session.limits.unauthenticatedCommandBytesMax);
      if (event.kind === "tooLong") return { ...bad("The line is too long"), bye: "Line too long" };
      if (event.kind !== "command") return bad("IDLE was cut off");
      const word = Buffer.from(event.text).toString("latin1").trim().toUpperCase();
      return word === "DONE" ? ok("IDLE completed") : bad("Expected DONE");
    } finally {
      session.onKeepAlive = undefined;
      if (selected !== undefined) selected.onMoved = undefined;
      await teller.stop();
      session.idling = false;
      session.busy = true;
      await notify?.settled();
    }
  },
});

/** Runs one look at the store at a time, again when something came meanwhile. */
class Teller {
  readonly #session: Session;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(session: Session) {
    this.#session = session;
  }

  tell(force: boolean): void {
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#run(force).finally(() => {
      this.#running = undefined;
    });
  }

  /** A line now and then keeps address translators from forgetting the connection. */
  keepAlive(): void {
    if (this.#running !== undefined) return;
    this.#session.out.text("* OK Still here\r\n");
    // A watch that died silently is noticed here at the latest.
    const { selected, notify, out } = this.#session;
    if (notify === undefined && selected !== undefined) {
      this.tell(true);
      return;
    }
    out.end();
    notify?.selectedAnew();
  }

  async stop(): Promise<void> {
    await this.#running;
  }

  async #run(force: boolean): Promise<void> {
    const session = this.#session;
    let poll = force;
    do {
      this.#again = false;
      try {
        await session.selected?.sync(session, { expunge: true, force: poll });
        session.out.end();
        if (session.out.full) await session.out.drained(session.signal);
      } catch (error) {
        if (session.signal.aborted) return;
        this.#failed(error);
        if (!isMailError(error)) return;
      }
      poll = false;
    } while (this.#again && session.bye === undefined);
  }

  #failed(error: unknown): void {
    if (error instanceof AssertionFailure) throw error; // Our bug: ends the process.
    const { log } = this.#session.services;
    if (!isMailError(error)) {
      log.error({ err: error }, "imap idle failed");
      this.#session.endWith("Internal error");
      return;
    }
    const reply: Reply = failureReply(error.failure);
    if (reply.bye !== undefined) this.#session.endWith(reply.bye);
    // Otherwise the mailbox stays marked as stale, and the watch's retry comes back here.
    else log.debug({ err: error }, "imap idle waits for the store");
  }
}
