// GroupAdmin at a gateway: groups are accounts and are ordered like those. Leaves names to the claims
// and what is posted to announcements.ts.

import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { defaultGroup, everyoneName, scheduledMailbox } from "../../mail/group.ts";
import { shardId } from "../../mail/ids.ts";
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
import { Announcements } from "./announcements.ts";
import type { AnnouncementsOptions, Posted } from "./announcements.ts";
import type {
  Announcement,
  AnnouncementId,
  AnnouncementStats,
  GroupAdmin,
  GroupDetails,
  NewAnnouncement,
  NewGroup,
} from "./group-admin.ts";
import { principalOf } from "./group-index.ts";
import type { GroupIndexes } from "./group-indexes.ts";
import { isMember } from "./group-policy.ts";
import { readersMethod } from "./group-service.ts";
import { firstUidSince } from "./member-view.ts";

export interface GroupAdminOptions extends AnnouncementsOptions {
  readonly directory: GatewayDirectory;
  readonly indexes: GroupIndexes;
  readonly links: Links;
  readonly primaries: Primaries;
  readonly placement: Placement;
  readonly shardCount: number;
  readonly domains: readonly string[];
  /** Longest that a change is repeated while its shard can't answer. */
  readonly retryMs?: number;
}

export class GroupAdminClient implements GroupAdmin {
  readonly #options: GroupAdminOptions;
  readonly #announcements: Announcements;

  constructor(options: GroupAdminOptions) {
    this.#options = options;
    this.#announcements = new Announcements(options);
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
    const { name: primary, account } = await this.#group(name, signal);
    const head = { opId: nextOpId(), name: primary, account };
    const home = claimShard(primary, shardCount);
    await orderPrimary(this.#options, home, method.remove, head, signal);
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

  get messageBytesMax(): number {
    return this.#options.messageBytesMax;
  }

  async announce(
    name: string,
    what: NewAnnouncement,
    signal: AbortSignal,
  ): Promise<AnnouncementId> {
    const group = await this.#groupOrEveryone(name, signal);
    return this.#gone(group, await this.#announcements.post(group, what, signal), signal);
  }

  async announcements(name: string, signal: AbortSignal): Promise<readonly Announcement[]> {
    return this.#announcements.list(await this.#group(name, signal), signal);
  }

  async recall(name: string, id: AnnouncementId, signal: AbortSignal): Promise<void> {
    const group = await this.#group(name, signal);
    const recalled = await this.#announcements.recall(group, id, signal);
    await this.#gone(group, recalled, signal);
    if (!recalled.found) throw invalid(`${group.name} has no announcement ${id}`);
  }

  async stats(name: string, signal: AbortSignal): Promise<readonly AnnouncementStats[]> {
    const { shardCount } = this.#options;
    const group = await this.#group(name, signal);
    const [posted, { members }] = await Promise.all([
      this.#announcements.posted(group, signal),
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

  /** What has gone no gateway shows from here on: this resolves when all know. */
  async #gone(
    group: DirectoryRow,
    { id, floorModSeq }: Posted,
    signal: AbortSignal,
  ): Promise<AnnouncementId> {
    if (floorModSeq !== undefined) await this.#patch(group, { group: { floorModSeq } }, signal);
    return id;
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
