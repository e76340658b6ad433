// GroupAdmin at a gateway: groups are accounts and are ordered like those; their messages are stored,
// moved and removed by ordinary calls on the group's account. Leaves names to the claims and the
// messages' form to announcement-message.ts.

import type { Clock } from "../../lib/clock.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { defaultGroup, everyoneName, scheduledMailbox } from "../../mail/group.ts";
import { shardId } from "../../mail/ids.ts";
import type { OpId } from "../../mail/ids.ts";
import type { MailStore } from "../../mail/mail-store.ts";
import { indexMessage } from "../../mail/mime/indexer.ts";
import { accountName } from "../directory/account-names.ts";
import { orderPrimary, untilAnswered } from "../directory/calls.ts";
import type { Primaries } from "../directory/calls.ts";
import { claimShard } from "../directory/claims.ts";
import type { GatewayDirectory } from "../directory/gateway-directory.ts";
import { fieldsOf } from "../directory/group-wire.ts";
import type { Placement } from "../directory/placement.ts";
import type { GroupPatch, RegistrationPatch } from "../directory/registration-patch.ts";
import { decodeRow, method } from "../directory/wire.ts";
import type { Links } from "../link/rpc.ts";
import { asCount, asListOf } from "../node/decode.ts";
import { headersOf, expiresMsIn } from "./announcement-headers.ts";
import { announcementOf } from "./announcement-message.ts";
import type {
  Announcement,
  AnnouncementId,
  AnnouncementStats,
  GroupAdmin,
  GroupDetails,
  NewAnnouncement,
  NewGroup,
} from "./group-admin.ts";
import { loadIndex, principalOf } from "./group-index.ts";
import type { GroupIndexes } from "./group-indexes.ts";
import { isMember } from "./group-policy.ts";
import { readersMethod } from "./group-service.ts";
import { firstUidSince } from "./member-view.ts";

export interface GroupAdminOptions {
  readonly store: MailStore;
  readonly directory: GatewayDirectory;
  readonly indexes: GroupIndexes;
  readonly links: Links;
  readonly primaries: Primaries;
  readonly placement: Placement;
  readonly shardCount: number;
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly nextOpId: () => OpId;
  readonly hostName: string;
  /** Longest that a change is repeated while its shard can't answer. */
  readonly retryMs?: number;
}

export const announcementsMax = 10_000;
const scheduleDaysMax = 3660;

export class GroupAdminClient implements GroupAdmin {
  readonly #options: GroupAdminOptions;

  constructor(options: GroupAdminOptions) {
    this.#options = options;
  }

  async create(group: NewGroup, signal: AbortSignal): Promise<DirectoryRow> {
    const { name: given, ...settings } = group;
    const { domains, nextOpId, placement, shardCount } = this.#options;
    const name = this.#nameOf(given);
    const everyone = name === `${everyoneName}@${domains[0] ?? ""}`;
    const placed = placement.choose();
    if (placed === undefined) throw unavailable("no shard has a primary");
    try {
      const head = {
        opId: nextOpId(),
        name,
        shard: placed.shard,
        aliases: [],
        hash: "",
        quotaBytes: 0,
        quotaMessages: 0,
        profile: {},
        group: { ...defaultGroup, ...checked(settings, domains), everyone },
      };
      return decodeRow(
        await orderPrimary(
          this.#options,
          claimShard(name, shardCount),
          method.create,
          head,
          signal,
        ),
      );
    } finally {
      placed.done();
    }
  }

  async update(name: string, patch: GroupPatch, signal: AbortSignal): Promise<DirectoryRow> {
    const row = await this.#group(name, signal);
    return this.#patch(row, { group: checked(patch, this.#options.domains) }, signal);
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    const { nextOpId, shardCount } = this.#options;
    const row = await this.#group(name, signal);
    const head = { opId: nextOpId(), name: row.name };
    await orderPrimary(
      this.#options,
      claimShard(row.name, shardCount),
      method.remove,
      head,
      signal,
    );
  }

  async show(name: string, signal: AbortSignal): Promise<GroupDetails> {
    const { store, directory } = this.#options;
    const row = await this.#group(name, signal);
    const who = principalOf(row);
    const [inbox, scheduled, members] = await Promise.all([
      store.mailboxStatus(who, "INBOX", signal),
      store.mailboxStatus(who, scheduledMailbox, signal),
      row.group?.everyone === true ? directory.userCount() : directory.memberCount(row.account),
    ]);
    const { messages, sizeBytes: bytes } = inbox;
    return { row, members, messages, scheduled: scheduled.messages, bytes };
  }

  list(): Promise<readonly DirectoryRow[]> {
    return this.#options.directory.groups();
  }

  async join(name: string, user: string, signal: AbortSignal): Promise<void> {
    const group = await this.#group(name, signal);
    const member = await this.#user(user, signal);
    if (group.group?.everyone === true) throw invalid(`everyone is a member of ${group.name}`);
    if (isMember(group, member)) return;
    const index = await this.#options.indexes.current(group, 0, signal);
    const sinceMs = this.#options.clock.nowMs();
    const fromUid = firstUidSince(index, group.group?.historyDays ?? 0, sinceMs);
    await this.#patch(member, { join: { group: group.account, sinceMs, fromUid } }, signal);
  }

  async leave(name: string, user: string, signal: AbortSignal): Promise<void> {
    const group = await this.#group(name, signal);
    const member = await this.#user(user, signal);
    if (group.group?.everyone === true) throw invalid(`nobody leaves ${group.name}`);
    await this.#patch(member, { leave: group.account }, signal);
  }

  async members(
    name: string,
    after: number,
    most: number,
    signal: AbortSignal,
  ): Promise<readonly DirectoryRow[]> {
    const { account } = await this.#group(name, signal);
    return this.#options.directory.members(account, after, most);
  }

  async announce(
    name: string,
    what: NewAnnouncement,
    signal: AbortSignal,
  ): Promise<AnnouncementId> {
    const { store, clock, nextOpId, hostName } = this.#options;
    const group = await this.#groupOrEveryone(name, signal);
    const nowMs = clock.nowMs();
    const { atMs = 0, expiresMs } = what;
    if (atMs > nowMs + scheduleDaysMax * 86_400_000) throw invalid("that is too far away");
    if (expiresMs !== undefined && expiresMs <= Math.max(nowMs, atMs)) {
      throw invalid("it would expire before it is posted");
    }
    const opId = what.id ?? nextOpId();
    const later = atMs > nowMs;
    const messageId = `<${opId}@${hostName}>`;
    const { message, ...given } = what;
    const bytes = announcementOf(message, {
      ...given,
      group,
      nowMs: later ? atMs : nowMs,
      messageId,
    });
    const mailbox = later ? scheduledMailbox : "INBOX";
    const who = principalOf(group);
    const { messages } = await store.mailboxStatus(who, mailbox, signal);
    if (messages >= announcementsMax) {
      throw new MailError({ code: "LIMIT", limit: "announcements", most: announcementsMax });
    }
    const one = {
      source: { kind: "bytes", bytes },
      index: indexMessage(bytes),
      flags: [],
      ...(later ? { internalDateMs: atMs } : {}),
    } as const;
    // Whoever gives the id may have asked before, at another gateway.
    const change = { opId, retry: what.id !== undefined, mailbox, messages: [one] };
    const { uids } = await store.append(who, change, signal);
    return `${later ? "s" : ""}${uids[0] ?? 0}`;
  }

  async announcements(name: string, signal: AbortSignal): Promise<readonly Announcement[]> {
    const group = await this.#group(name, signal);
    const posted = await this.#listed(group, "INBOX", "", signal);
    return [...posted, ...(await this.#listed(group, scheduledMailbox, "s", signal))];
  }

  async recall(name: string, id: AnnouncementId, signal: AbortSignal): Promise<void> {
    const { store, nextOpId } = this.#options;
    const group = await this.#group(name, signal);
    const [, scheduled, uid = ""] = /^(s?)(\d{1,10})$/.exec(id) ?? [];
    if (scheduled === undefined) throw invalid(`${id} is no announcement`);
    const who = principalOf(group);
    const mailbox = scheduled === "s" ? scheduledMailbox : "INBOX";
    const { id: box } = await store.mailboxStatus(who, mailbox, signal);
    const uids = [Number(uid), Number(uid)];
    const change = { opId: nextOpId(), retry: false, mailbox: box, uids, force: true };
    const { expunged, highestModSeq } = await store.expunge(who, change, signal);
    if (expunged.length === 0) throw invalid(`${group.name} has no announcement ${id}`);
    // From here on no gateway shows the group as it was before: this resolves when all know.
    if (scheduled === "")
      await this.#patch(group, { group: { floorModSeq: highestModSeq } }, signal);
  }

  async stats(name: string, signal: AbortSignal): Promise<readonly AnnouncementStats[]> {
    const { shardCount } = this.#options;
    const group = await this.#group(name, signal);
    const [posted, { members }] = await Promise.all([
      this.#listed(group, "INBOX", "", signal),
      this.show(name, signal),
    ]);
    const uids = posted.map(({ id }) => Number(id));
    const shards = Array.from({ length: shardCount }, (_, shard) => shardId(shard));
    const counts = await Promise.all(
      shards.map(async (shard) => {
        const head = { shard, group: group.account, uids };
        const answer = fieldsOf(
          await orderPrimary(this.#options, shard, readersMethod, head, signal),
          "readers",
        );
        const list = (field: string): readonly number[] =>
          asListOf(answer.get(field), field, asCount);
        return { read: list("read"), hidden: list("hidden") };
      }),
    );
    return posted.map((one, at) => ({
      ...one,
      members,
      read: counts.reduce((sum, { read }) => sum + (read[at] ?? 0), 0),
      hidden: counts.reduce((sum, { hidden }) => sum + (hidden[at] ?? 0), 0),
    }));
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

  async #patch(
    row: Pick<DirectoryRow, "account" | "shard">,
    patch: RegistrationPatch,
    signal: AbortSignal,
  ): Promise<DirectoryRow> {
    const { account, shard } = row;
    const head = { opId: this.#options.nextOpId(), account, shard, patch };
    return decodeRow(await orderPrimary(this.#options, shard, method.patch, head, signal));
  }

  #nameOf(text: string): string {
    const { domains } = this.#options;
    return accountName(text.includes("@") ? text : `${text}@${domains[0] ?? ""}`, domains);
  }

  /** @throws MailError NO_SUCH_ACCOUNT, UNAVAILABLE */
  async #group(text: string, signal: AbortSignal): Promise<DirectoryRow> {
    const row = await this.#row(this.#nameOf(text), signal);
    if (row?.group === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return row;
  }

  /** The group of everyone is made when it is first written to. */
  async #groupOrEveryone(text: string, signal: AbortSignal): Promise<DirectoryRow> {
    const name = this.#nameOf(text);
    const row = await this.#row(name, signal);
    if (row === undefined && name === `${everyoneName}@${this.#options.domains[0] ?? ""}`) {
      return this.create({ name }, signal);
    }
    return this.#group(text, signal);
  }

  /** @throws MailError INVALID when it is no user of ours */
  async #user(text: string, signal: AbortSignal): Promise<DirectoryRow> {
    const row = await this.#row(this.#nameOf(text), signal);
    if (row === undefined) throw invalid(`there is no user ${text}`);
    if (row.group !== undefined) throw invalid(`${row.name} is a group`);
    return row;
  }

  /** Waits a while for a directory that is not sure. @throws MailError UNAVAILABLE */
  #row(name: string, signal: AbortSignal): Promise<DirectoryRow | undefined> {
    const { clock, directory, retryMs = 30_000 } = this.#options;
    const look = async (): Promise<DirectoryRow | undefined> => {
      const found = directory.lookupNow(name);
      if (found.kind === "unsure") throw unavailable("the directory is not complete");
      if (found.kind === "none") return undefined;
      const { row } = found;
      // Not a catch-all.
      return row.name === name || row.aliases.includes(name) ? row : undefined;
    };
    return untilAnswered(clock, look, AbortSignal.any([signal, AbortSignal.timeout(retryMs)]));
  }
}

/** Posters are addresses of ours. @throws MailError INVALID */
function checked(patch: GroupPatch, domains: readonly string[]): GroupPatch {
  if (patch.posters === undefined) return patch;
  return { ...patch, posters: patch.posters.map((poster) => accountName(poster, domains)) };
}

function invalid(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}

function unavailable(why: string): MailError {
  return new MailError({ code: "UNAVAILABLE", why });
}
