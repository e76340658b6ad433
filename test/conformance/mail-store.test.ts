// The MailStore suite on the fake, and on the local store over a real disk. The routed store's row
// stands with the cluster's tests.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import { makeAccountId, shardId } from "../../src/mail/ids.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { createAccount, firstMailboxes, updateAccount } from "../../src/store/accounts.ts";
import type { Engine } from "../../src/store/engine.ts";
import { openIndex, openStore } from "../../src/store/open-store.ts";
import { FakeMailStore } from "../support/fake-mail-store.ts";
import { mailStoreConformance } from "./mail-store.ts";
import { change, never } from "./mail-store-kit.ts";
import type { FixtureQuota, MailStoreFixture } from "./mail-store-kit.ts";

const shard = shardId(3);

mailStoreConformance("the fake", () => Promise.resolve(startFake()));
mailStoreConformance("the local store on a real disk", startLocal, { modelRuns: 40 });

function startFake(): MailStoreFixture {
  const store = new FakeMailStore();
  let accounts = 0;
  return {
    store,
    addAccount: (quota) =>
      Promise.resolve(store.addAccount(`u${++accounts}@pabal.test`, quota).who),
    revoke: (who, how) => {
      const patch = how === "disable" ? { state: "disabled" as const } : { password: "new" };
      store.updateAccount(who.account, patch);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

async function startLocal(): Promise<MailStoreFixture> {
  const folder = await mkdtemp(join(tmpdir(), "pabal-conformance-"));
  const failures: unknown[] = [];
  const opened = await openStore({
    disk: realDisk(folder),
    index: await openIndex(join(folder, "index")),
    clock: systemClock,
    random: systemRandom,
    shards: [shard],
    onFatal: (error) => failures.push(error),
  });
  let accounts = 0;
  return {
    store: opened.store,
    addAccount: (quota = {}) => addLocalAccount(opened.engine, ++accounts, quota),
    revoke: async (who, how) => {
      const access = { account: who.account, shard: who.shard };
      const patch =
        how === "disable" ? { state: "disabled" as const } : { credentials: { hash: "new" } };
      await updateAccount(opened.engine, access, change(), patch, never);
    },
    close: async () => {
      await opened.close();
      await rm(folder, { recursive: true, force: true });
      if (failures.length > 0) throw new Error("the store failed", { cause: failures[0] });
    },
  };
}

async function addLocalAccount(
  engine: Engine,
  counter: number,
  quota: FixtureQuota,
): Promise<Principal> {
  const account = makeAccountId(shard, counter);
  const request = {
    ...change(),
    shard,
    account,
    name: `u${counter}@pabal.test`,
    aliases: [],
    credentials: { hash: "old" },
    quotaBytes: quota.quotaBytes ?? 0,
    quotaMessages: quota.quotaMessages ?? 0,
    profile: {},
    mailboxes: firstMailboxes,
    uidValidityFloor: 0,
  };
  await createAccount(engine, request, never);
  return { account, shard, credVersion: 1 };
}
