// What the primary of a group's shard does by itself: posts announcements whose time has come, and
// takes away those that have expired (paper BC6). Both are ordinary changes of the group's account with
// the UIDs named; what was due while nobody served is done by the next primary.

import type { Clock, Timer } from "../../lib/clock.ts";
import type { GroupSettings } from "../../mail/group.ts";
import { scheduledMailbox } from "../../mail/group.ts";
import { isMailError } from "../../mail/errors.ts";
import type { AccountId, OpId, ShardId } from "../../mail/ids.ts";
import type { MailStore, Principal } from "../../mail/mail-store.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import type { Registration } from "../../mail/account.ts";
import { expiresMsIn, headersOf } from "./announcement-headers.ts";
import { loadIndex } from "./group-index.ts";

/** What of a mail node the keeper needs. */
export interface KeptGroups {
  shards(): readonly ShardId[];
  serves(shard: ShardId): boolean;
  groupsIn(shard: ShardId): Promise<readonly AccountId[]>;
  registration(shard: ShardId, group: AccountId): Promise<Registration | undefined>;
}

export interface GroupKeeperOptions {
  readonly groups: KeptGroups;
  readonly store: MailStore;
  readonly clock: Clock;
  readonly nextOpId: () => OpId;
  readonly log: {
    info(facts: object, text: string): void;
    warn(facts: object, text: string): void;
  };
}

/** What is known of one mailbox of a group, as long as its MODSEQ is that. */
interface Plan {
  readonly modSeq: number;
  /** When each message is due to go, or to be posted. */
  readonly dueMs: ReadonlyMap<number, number>;
  readonly nextMs: number;
}

const tickMs = 1000;
const workMs = 30_000;

export class GroupKeeper {
  readonly #options: GroupKeeperOptions;
  readonly #plans = new Map<string, Plan>();
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #working: Promise<void> = Promise.resolve();

  constructor(options: GroupKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(tickMs, () => {
      this.#working = this.#tick().finally(() => {
        if (!this.#stop.signal.aborted) this.start();
      });
    });
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#stop.abort();
    await this.#working;
  }

  async #tick(): Promise<void> {
    const { groups } = this.#options;
    for (const shard of groups.shards()) {
      if (this.#stop.signal.aborted || !groups.serves(shard)) continue;
      try {
        for (const group of await groups.groupsIn(shard)) {
          // One that can't be looked after keeps nobody from the others.
          await this.#keep(shard, group).catch((error: unknown) => this.#failed(error, shard));
        }
      } catch (error) {
        this.#failed(error, shard);
      }
    }
  }

  /** Another primary, or the next tick, does it. */
  #failed(error: unknown, shard: ShardId): void {
    const { log } = this.#options;
    if (this.#stop.signal.aborted) return;
    if (isMailError(error)) log.info({ err: error, shard }, "groups not looked after now");
    else log.warn({ err: error, shard }, "groups not looked after");
  }

  async #keep(shard: ShardId, group: AccountId): Promise<void> {
    const registration = await this.#options.groups.registration(shard, group);
    if (registration?.group === undefined || registration.state !== "active") return;
    const who = { account: group, shard, credVersion: registration.credVersion };
    const within = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(workMs)]);
    await this.#post(who, within);
    await this.#expire(who, registration.group, within);
  }

  async #post(who: Principal, signal: AbortSignal): Promise<void> {
    const { store, clock, nextOpId, log } = this.#options;
    const plan = await this.#plan(
      who,
      scheduledMailbox,
      "posts",
      signal,
      (_headers, dateMs) => dateMs,
    );
    const uids = dueIn(plan, clock.nowMs());
    if (uids.length === 0) return;
    const { id: mailbox } = await store.mailboxStatus(who, scheduledMailbox, signal);
    const change = { opId: nextOpId(), retry: false, mailbox, target: "INBOX" };
    await store.move(who, { ...change, uids: uidSetFromSorted(uids) }, signal);
    log.info({ group: who.account, messages: uids.length }, "scheduled announcements posted");
  }

  async #expire(who: Principal, settings: GroupSettings, signal: AbortSignal): Promise<void> {
    const { store, clock, nextOpId, log } = this.#options;
    const { retentionMs } = settings;
    const key = `expires ${retentionMs}`;
    const plan = await this.#plan(who, "INBOX", key, signal, (headers, dateMs) => {
      const byAge = retentionMs === 0 ? Number.POSITIVE_INFINITY : dateMs + retentionMs;
      return Math.min(byAge, expiresMsIn(headers) ?? Number.POSITIVE_INFINITY);
    });
    const uids = dueIn(plan, clock.nowMs());
    if (uids.length === 0) return;
    const { id: mailbox } = await store.mailboxStatus(who, "INBOX", signal);
    const change = { opId: nextOpId(), retry: false, mailbox, force: true };
    await store.expunge(who, { ...change, uids: uidSetFromSorted(uids) }, signal);
    log.info({ group: who.account, messages: uids.length }, "announcements expired");
  }

  /** When what is due: looked at again only when the mailbox has changed. */
  async #plan(
    who: Principal,
    name: string,
    key: string,
    signal: AbortSignal,
    dueAt: (headers: ReadonlyMap<string, string> | undefined, dateMs: number) => number,
  ): Promise<Plan> {
    const { store } = this.#options;
    const planKey = `${who.account} ${key}`;
    const known = this.#plans.get(planKey);
    const { highestModSeq } = await store.mailboxStatus(who, name, signal);
    if (known?.modSeq === highestModSeq) return known;
    const index = await loadIndex(store, who, name, signal);
    const fresh = Array.from(index.uids).filter((uid) => known?.dueMs.has(uid) !== true);
    const headers = await headersOf(store, who, index.mailbox, fresh, ["Expires"], signal);
    const dueMs = new Map(
      Array.from(index.uids, (uid, at) => [
        uid,
        known?.dueMs.get(uid) ?? dueAt(headers.get(uid), index.datesMs[at] ?? 0),
      ]),
    );
    let nextMs = Number.POSITIVE_INFINITY;
    for (const atMs of dueMs.values()) nextMs = Math.min(nextMs, atMs);
    const plan = { modSeq: index.modSeq, dueMs, nextMs };
    this.#plans.set(planKey, plan);
    return plan;
  }
}

function dueIn({ dueMs, nextMs }: Plan, nowMs: number): readonly number[] {
  if (nextMs > nowMs) return [];
  return Array.from(dueMs).flatMap(([uid, at]) => (at <= nowMs ? [uid] : []));
}
