// NOTIFY of one session: watches the whole account and tells what the client asked for, between
// commands, in IDLE, and at the end of a command, never inside one. Events only say that something
// moved; what it was is read from the store, so that any number of events costs one look.
// RFC 5465

import { AssertionFailure } from "../../lib/assert.ts";
import { crc32c } from "../../lib/crc32c.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MailboxEvent, MailboxListing } from "../../mail/mail-store.ts";
import {
  countChanges,
  knownAnnotations,
  matchGroups,
  writeAnnotationDifference,
  writeDifference,
  writeFirstStatus,
} from "./notify-difference.ts";
import type { KnownAnnotations, KnownMailboxes } from "./notify-difference.ts";
import { failureReply } from "./reply.ts";
import { writeUntaggedOk } from "./responses.ts";
import type { Session } from "./session.ts";
import { syncSelected } from "./sync-selected.ts";
import type { NotifyEvents, NotifyGroup, NotifyRequest } from "./syntax/notify-groups.ts";
import { watchMailbox } from "./watch.ts";

export class Notifier {
  readonly #session: Session;
  #groups: readonly NotifyGroup[];
  #known: KnownMailboxes = new Map();
  #annotations: KnownAnnotations | undefined;
  #watch: AbortController | undefined;
  /** The primary is away: nothing is asked until it is back. */
  #away = false;
  #selectedMoved = false;
  #othersMoved = false;
  #namesMoved = false;
  #running: Promise<void> | undefined;

  constructor(session: Session, groups: readonly NotifyGroup[]) {
    this.#session = session;
    this.#groups = groups;
  }

  /** Events of the selected mailbox that the client wants; undefined: none. */
  get selectedEvents(): NotifyEvents | undefined {
    const events = this.#selectedGroup?.events;
    return events?.messageNew === true ? events : undefined;
  }

  /**
   * Takes the state from which differences are told, and listens.
   * @throws MailError as the store's calls; the session then keeps what it had
   */
  async start({ status }: NotifyRequest): Promise<void> {
    if (this.#groups.every(({ events }) => Object.values(events).every((on) => on !== true)))
      return;
    const session = this.#session;
    this.#known = this.#match(await this.#list());
    if (this.#wantsAnnotations) this.#annotations = await this.#readAnnotations();
    if (status) writeFirstStatus(session, this.#known);
    this.#selectedMoved = true;
    this.#watch = watchMailbox(session, "all", {
      // What happened before the node listened was not told: look once more.
      listening: () => {
        this.#away = false;
        this.#selectedMoved = this.#othersMoved = this.#namesMoved = true;
        this.poke();
      },
      event: (event) => this.#onEvent(event),
      interrupted: () => {
        this.#away = true;
      },
    });
  }

  close(): void {
    this.#watch?.abort();
    this.#watch = undefined;
    this.#groups = [];
  }

  /** A mailbox was selected, or the client idles: look whether there is something to tell. */
  selectedAnew(): void {
    this.#selectedMoved = true;
    this.poke();
  }

  /** Tells now, if the client waits and nothing else is being told. */
  poke(): void {
    if (this.#running !== undefined || !this.#session.quiet || !this.#hasNews) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      // What came at the very end.
      if (this.#hasNews && !this.#away && this.#session.bye === undefined) this.poke();
    });
    this.#running.catch((error: unknown) => this.#failed(error));
  }

  /** Resolves when nothing is being told: a command may run, or its end may be told. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined);
  }

  get #selectedGroup(): NotifyGroup | undefined {
    return this.#groups.find(({ filter }) => filter.kind === "selected");
  }
  get #hasNews(): boolean {
    return !this.#away && (this.#selectedMoved || this.#othersMoved);
  }
  get #wantsAnnotations(): boolean {
    return this.#groups.some(({ events }) => events.mailboxMetadata || events.serverMetadata);
  }

  #onEvent(event: MailboxEvent): void {
    switch (event.kind) {
      case "mailbox":
        if (event.mailbox === this.#session.selected?.id) this.#selectedMoved = true;
        else if (this.#known.get(event.mailbox)?.events === undefined) return;
        else this.#othersMoved = true;
        break;
      case "list":
      case "deleted":
        this.#othersMoved = this.#namesMoved = true;
        break;
      case "revoked":
        this.#session.endWith("Log in again");
        return;
    }
    this.poke();
  }

  /** One look at everything that moved. */
  async #run(): Promise<void> {
    const session = this.#session;
    if (this.#selectedMoved) {
      this.#selectedMoved = false;
      const filter = this.#selectedGroup?.filter;
      const delayed = filter?.kind === "selected" && filter.delayed && !session.idling;
      await syncSelected(session, { expunge: !delayed, force: true });
    }
    if (this.#othersMoved) {
      this.#othersMoved = false;
      await this.#tellOthers();
    }
    session.out.end();
    if (session.out.full) await session.out.drained(session.signal);
  }

  async #tellOthers(): Promise<void> {
    const session = this.#session;
    const names = this.#namesMoved;
    this.#namesMoved = false;
    const now = this.#match(await this.#list());
    const annotations =
      names && this.#annotations !== undefined ? await this.#readAnnotations() : undefined;
    const before = this.#known;
    this.#known = now;
    if (countChanges(before, now) > session.limits.notifyMailboxesMax) {
      // RFC 5465 §5.8: too much to tell; from here on it is as after NOTIFY NONE.
      this.close();
      writeUntaggedOk(session.out, "NOTIFICATIONOVERFLOW", "Too many changes, ask again");
      return;
    }
    writeDifference(session, before, now);
    if (annotations === undefined || this.#annotations === undefined) return;
    const old = this.#annotations;
    this.#annotations = annotations;
    writeAnnotationDifference(session, old, annotations, (mailbox) => this.#wantsOf(mailbox));
  }

  #wantsOf(mailbox: string): boolean {
    if (mailbox === "") return this.#groups.some(({ events }) => events.serverMetadata);
    for (const { info, events } of this.#known.values()) {
      if (info.name === mailbox) return events?.mailboxMetadata === true;
    }
    return false;
  }

  #match(listing: MailboxListing): KnownMailboxes {
    return matchGroups(listing, this.#groups);
  }

  #list(): Promise<MailboxListing> {
    const { services, principal, signal } = this.#session;
    return services.store.listMailboxes(principal, signal);
  }

  async #readAnnotations(): Promise<KnownAnnotations> {
    const { services, principal, signal } = this.#session;
    const all = await services.store.annotations(principal, { mailbox: undefined }, signal);
    return knownAnnotations(all, (value) => `${value.length} ${crc32c(value)}`);
  }

  /** The store could not be asked: all is looked at again with the next event or command. */
  #failed(error: unknown): void {
    const session = this.#session;
    if (error instanceof AssertionFailure) throw error; // Our bug: ends the process.
    if (session.signal.aborted || this.#watch === undefined) return;
    if (!isMailError(error)) {
      session.services.log.error({ err: error }, "imap notify failed");
      session.endWith("Internal error");
      return;
    }
    const { bye } = failureReply(error.failure);
    if (bye !== undefined) session.endWith(bye);
    else session.services.log.debug({ err: error }, "imap notify waits for the store");
    this.#selectedMoved = this.#othersMoved = true;
  }
}
