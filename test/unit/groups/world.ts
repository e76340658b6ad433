// Gateways with views of groups over one local store in memory, and a directory that says what the
// engine's registrations say.

import { SeededRandom } from "../../../src/lib/random.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { directoryRow, patched } from "../../../src/cluster/directory/registration-patch.ts";
import type { RegistrationPatch } from "../../../src/cluster/directory/registration-patch.ts";
import { GroupIndexes } from "../../../src/cluster/groups/group-indexes.ts";
import { GroupTexts } from "../../../src/cluster/groups/group-texts.ts";
import { GroupedMailStore } from "../../../src/cluster/groups/grouped-mail-store.ts";
import { MemberViews } from "../../../src/cluster/groups/member-views.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { defaultGroup } from "../../../src/mail/group.ts";
import type { GroupSettings } from "../../../src/mail/group.ts";
import { makeAccountId, mailboxId } from "../../../src/mail/ids.ts";
import type { AccountId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import { changeExclusively } from "../../../src/store/propose.ts";
import { change, delivery, makeStore, message, never, shard } from "../store/harness.ts";
import type { Harness } from "../store/harness.ts";

export interface World {
  readonly harness: Harness;
  readonly gateways: readonly GroupedMailStore[];
  /** False: gateways ask the member's node for everything. */
  fresh: boolean;
  /** True: directories learn nothing new until `catchUp`. */
  lagging: boolean;
  catchUp(): void;
  add(name: string, group?: Partial<GroupSettings>): Promise<Principal>;
  patch(account: AccountId, patch: RegistrationPatch): Promise<void>;
  post(group: Principal, subject: string): Promise<void>;
  /** Takes messages out of the group, as expiry does. */
  remove(group: Principal, uid: number): Promise<void>;
  close(): void;
}

let accounts = 1_000_000;

export function makeWorld(gatewayCount = 1): World {
  const harness = makeStore();
  const rows = new Map<AccountId, DirectoryRow>();
  const listeners: ((changed: readonly DirectoryRow[]) => void)[] = [];
  const waiting: DirectoryRow[] = [];
  const learn = (row: DirectoryRow): void => {
    rows.set(row.account, row);
    for (const listener of listeners) listener([row]);
  };
  harness.engine.feed.listen((event) => {
    if (event.kind !== "registration") return;
    const row = directoryRow(event.registration, event.shard, event.overQuota);
    if (world.lagging) waiting.push(row);
    else learn(row);
  });
  const all: GroupIndexes[] = [];
  const gateways = Array.from({ length: gatewayCount }, () => {
    const directory = {
      rowNow: (account: AccountId) => rows.get(account),
      isFresh: () => world.fresh,
      onRows: (listener: (changed: readonly DirectoryRow[]) => void) => listeners.push(listener),
      lookupNow: (name: string) => {
        const row = [...rows.values()].find((one) => one.name === name && one.state === "active");
        return row === undefined ? ({ kind: "none" } as const) : ({ kind: "found", row } as const);
      },
    };
    const { store } = harness;
    const random = new SeededRandom(1);
    const indexes = new GroupIndexes({
      store,
      directory,
      clock: systemClock,
      random,
      notifyPerSecond: 100_000,
    });
    all.push(indexes);
    const views = new MemberViews({
      store,
      directory,
      indexes,
      folder: "Announcements",
      domain: "pabal.test",
    });
    const texts = new GroupTexts(store, 1024 * 1024);
    return new GroupedMailStore({ store, views, indexes, texts });
  });
  const world: World = {
    harness,
    gateways,
    fresh: true,
    lagging: false,
    catchUp: () => {
      world.lagging = false;
      for (const row of waiting.splice(0)) learn(row);
    },
    add: async (name, group) => {
      const account = makeAccountId(shard, ++accounts);
      const more = group === undefined ? {} : { group: { ...defaultGroup, ...group } };
      const request = {
        ...change(),
        shard,
        account,
        name,
        aliases: [],
        credentials: { hash: "x" },
        quotaBytes: 0,
        quotaMessages: 0,
        profile: {},
        mailboxes: firstMailboxes,
        uidValidityFloor: 0,
        ...more,
      };
      await createAccount(harness.engine, request, never);
      return { account, shard, credVersion: 1 };
    },
    patch: async (account, patch) => {
      await changeExclusively(
        harness.engine,
        { account, shard },
        change(),
        "none",
        (state) =>
          Promise.resolve({
            ops: [{ kind: "registration", registration: patched(state.registration, patch) }],
            outcome: { kind: "none" },
          }),
        never,
      );
    },
    post: async (group, subject) => {
      await harness.store.deliver(delivery([group], message(subject)), never);
    },
    remove: async (group, uid) => {
      const request = { ...change(), mailbox: mailboxId(1), uids: [uid, uid], force: true };
      await harness.store.expunge(group, request, never);
    },
    close: () => {
      for (const indexes of all) indexes.close();
    },
  };
  return world;
}
