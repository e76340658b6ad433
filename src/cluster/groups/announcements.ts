// Announcements of one group at a gateway: posted, replaced, listed and recalled by ordinary calls on
// the group's account. Leaves the message's form to announcement-message.ts, who may ask to others.

import type { Clock } from "../../lib/clock.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { scheduledMailbox } from "../../mail/group.ts";
import { uid as asUid, uidMax } from "../../mail/ids.ts";
import type { ModSeq, OpId, ShardId } from "../../mail/ids.ts";
import type { AppendMessage, MailStore } from "../../mail/mail-store.ts";
import { MessageIndexer } from "../../mail/mime/indexer.ts";
import { expiresMsIn, headersOf } from "./announcement-headers.ts";
import { announcementOf } from "./announcement-message.ts";
import type { Announcement, AnnouncementId, NewAnnouncement } from "./group-admin.ts";
import { loadIndex, principalOf } from "./group-index.ts";

export interface AnnouncementsOptions {
  readonly store: MailStore;
  readonly clock: Clock;
  readonly nextOpId: () => OpId;
  readonly hostName: string;
  /** Largest message that is taken, before the group's fields are added. */
  readonly messageBytesMax: number;
}

/** What was done, and since when no gateway may show the group as it was: something has gone. */
export interface Posted {
  readonly id: AnnouncementId;
  readonly floorModSeq: ModSeq | undefined;
}

export const announcementsMax = 10_000;
const scheduleDaysMax = 3660;
/** Messages up to here are held in memory; larger ones go to the group's disks while they come. */
const inlineBytesMax = 256 * 1024;

export class Announcements {
  readonly #options: AnnouncementsOptions;

  constructor(options: AnnouncementsOptions) {
    this.#options = options;
  }

  /**
   * Posts, or schedules; what is replaced goes in the same entry, so that members never see both or
   * neither. @throws MailError INVALID, LIMIT, and what `append` throws
   */
  async post(group: DirectoryRow, what: NewAnnouncement, signal: AbortSignal): Promise<Posted> {
    const { store, clock, nextOpId, hostName } = this.#options;
    const nowMs = clock.nowMs();
    const { atMs = 0, expiresMs, replaces } = what;
    if (atMs > nowMs + scheduleDaysMax * 86_400_000) throw invalid("that is too far away");
    if (expiresMs !== undefined && expiresMs <= Math.max(nowMs, atMs)) {
      throw invalid("it would expire before it is posted");
    }
    const later = atMs > nowMs;
    const old = replaces === undefined ? undefined : placeOf(replaces);
    if (later && old?.mailbox === "INBOX") {
      throw invalid("what is posted is replaced at once: leave out the time");
    }
    const who = principalOf(group);
    const mailbox = later ? scheduledMailbox : "INBOX";
    const { messages } = await store.mailboxStatus(who, mailbox, signal);
    if (messages >= announcementsMax && old === undefined) {
      throw new MailError({ code: "LIMIT", limit: "announcements", most: announcementsMax });
    }
    const { message: given, ...rest } = what;
    const opId = what.id ?? nextOpId();
    const messageId = `<${opId}@${hostName}>`;
    const facts = { ...rest, group, nowMs: later ? atMs : nowMs, messageId };
    const chunks = announcementOf(this.#limited(given), facts);
    const taken = await this.#takeIn(group.shard, chunks, signal);
    const one = later ? { ...taken, internalDateMs: atMs } : taken;
    // Whoever gives the id may have asked before, at another gateway.
    const change = { opId, retry: what.id !== undefined, mailbox, messages: [one] };
    const { uids, highestModSeq } = await store.append(
      who,
      old === undefined
        ? change
        : { ...change, replaces: { mailbox: await this.#idOf(group, old, signal), uid: old.uid } },
      signal,
    );
    const id = `${later ? "s" : ""}${uids[0] ?? 0}`;
    return { id, floorModSeq: old?.mailbox === "INBOX" ? highestModSeq : undefined };
  }

  /** `floorModSeq` counts also when there was none (any more): an earlier try may not have told all. */
  async recall(
    group: DirectoryRow,
    id: AnnouncementId,
    signal: AbortSignal,
  ): Promise<Posted & { readonly found: boolean }> {
    const { store, nextOpId } = this.#options;
    const place = placeOf(id);
    const mailbox = await this.#idOf(group, place, signal);
    const uids = [place.uid, place.uid];
    const change = { opId: nextOpId(), retry: false, mailbox, uids, force: true };
    const { expunged, highestModSeq } = await store.expunge(principalOf(group), change, signal);
    const floorModSeq = place.mailbox === "INBOX" ? highestModSeq : undefined;
    return { id, floorModSeq, found: expunged.length > 0 };
  }

  /** Posted ones, then scheduled ones. */
  async list(group: DirectoryRow, signal: AbortSignal): Promise<readonly Announcement[]> {
    const posted = await this.posted(group, signal);
    return [...posted, ...(await this.#listed(group, scheduledMailbox, "s", signal))];
  }

  posted(group: DirectoryRow, signal: AbortSignal): Promise<readonly Announcement[]> {
    return this.#listed(group, "INBOX", "", signal);
  }

  async #listed(
    group: DirectoryRow,
    mailbox: string,
    prefix: string,
    signal: AbortSignal,
  ): Promise<readonly Announcement[]> {
    const { store } = this.#options;
    const who = principalOf(group);
    const index = await loadIndex(store, who, mailbox, signal);
    const fields = ["Subject", "From", "Expires"];
    const headers = await headersOf(store, who, index.mailbox, [...index.uids], fields, signal);
    const retentionMs = group.group?.retentionMs ?? 0;
    return Array.from(index.uids, (uid, at): Announcement => {
      const values = headers.get(uid);
      const dateMs = index.datesMs[at] ?? 0;
      const byAge = retentionMs === 0 ? undefined : dateMs + retentionMs;
      const own = expiresMsIn(values);
      return {
        id: `${prefix}${uid}`,
        subject: values?.get("subject") ?? "",
        from: values?.get("from") ?? "",
        dateMs,
        expiresMs: own === undefined ? byAge : Math.min(own, byAge ?? own),
        sizeBytes: index.sizes[at] ?? 0,
      };
    });
  }

  async #idOf(group: DirectoryRow, { mailbox }: Place, signal: AbortSignal) {
    const who = principalOf(group);
    return (await this.#options.store.mailboxStatus(who, mailbox, signal)).id;
  }

  async #takeIn(
    shard: ShardId,
    chunks: AsyncGenerator<Uint8Array, void, undefined>,
    signal: AbortSignal,
  ): Promise<AppendMessage> {
    const { store, nextOpId } = this.#options;
    const indexer = new MessageIndexer();
    const held: Uint8Array[] = [];
    let bytes = 0;
    for (;;) {
      const next = await chunks.next();
      if (next.done === true) {
        const source = { kind: "bytes", bytes: Buffer.concat(held) } as const;
        return { source, index: indexer.finish(), flags: [] };
      }
      indexer.push(next.value);
      held.push(next.value);
      bytes += next.value.byteLength;
      if (bytes > inlineBytesMax) break;
    }
    // A second try of the same announcement has other bytes in it, such as the date.
    const blob = await store.writeBlob(shard, nextOpId(), all(held, chunks, indexer), signal);
    return { source: { kind: "blob", blob }, index: indexer.finish(), flags: [] };
  }

  async *#limited(given: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const { messageBytesMax: most } = this.#options;
    let bytes = 0;
    for await (const chunk of given) {
      bytes += chunk.byteLength;
      if (bytes > most) throw new MailError({ code: "LIMIT", limit: "limits.messageBytes", most });
      yield chunk;
    }
  }
}

async function* all(
  held: readonly Uint8Array[],
  rest: AsyncIterable<Uint8Array>,
  indexer: MessageIndexer,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* held;
  for await (const chunk of rest) {
    indexer.push(chunk);
    yield chunk;
  }
}

interface Place {
  readonly mailbox: "INBOX" | typeof scheduledMailbox;
  readonly uid: ReturnType<typeof asUid>;
}

/** @throws MailError INVALID */
function placeOf(id: AnnouncementId): Place {
  const [, scheduled, digits = ""] = /^(s?)(\d{1,10})$/.exec(id) ?? [];
  const uid = Number(digits);
  if (scheduled === undefined || uid < 1 || uid > uidMax) throw invalid(`${id} is no announcement`);
  return { mailbox: scheduled === "s" ? scheduledMailbox : "INBOX", uid: asUid(uid) };
}

function invalid(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}
