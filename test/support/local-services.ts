// Gateway services over the local store on a real disk, with the account u1 of the IMAP tests.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GatewayServices } from "../../src/gateway/services.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import type { DirectoryRow } from "../../src/mail/account.ts";
import { makeAccountId, shardId } from "../../src/mail/ids.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { createAccount, firstMailboxes } from "../../src/store/accounts.ts";
import { openIndex, openStore } from "../../src/store/open-store.ts";
import { fakeServices, passwordsOnly } from "./fake-services.ts";

const shard = shardId(3);
const account = makeAccountId(shard, 1);
const row: DirectoryRow = {
  account,
  shard,
  name: "u1@pabal.test",
  aliases: [],
  state: "active",
  credentials: { hash: "" },
  credVersion: 1,
  userVersion: 1,
  overQuota: false,
};

export interface LocalServices {
  readonly services: GatewayServices;
  readonly who: Principal;
  /** Closes the store; rejects when it has failed meanwhile. */
  close(): Promise<void>;
}

/** Opens a store in a folder of its own, with the account `u1` (password `secret`). */
export async function localServices(): Promise<LocalServices> {
  const folder = await mkdtemp(join(tmpdir(), "pabal-gateway-"));
  const failures: unknown[] = [];
  const opened = await openStore({
    disk: realDisk(folder),
    index: await openIndex(join(folder, "index")),
    clock: systemClock,
    random: systemRandom,
    shards: [shard],
    onFatal: (error) => failures.push(error),
  });
  const base = fakeServices();
  await createAccount(
    opened.engine,
    {
      opId: base.nextOpId(),
      retry: false,
      shard,
      account,
      name: row.name,
      aliases: [],
      credentials: row.credentials,
      quotaBytes: 0,
      quotaMessages: 0,
      profile: {},
      mailboxes: firstMailboxes,
      uidValidityFloor: 0,
    },
    new AbortController().signal,
  );
  return {
    services: {
      ...base,
      store: opened.store,
      auth: passwordsOnly((login, password) =>
        Promise.resolve(
          login.startsWith("u1") && password === "secret"
            ? { kind: "ok", row }
            : { kind: "refused" },
        ),
      ),
    },
    who: { account, shard, credVersion: row.credVersion },
    close: async () => {
      await opened.close();
      await rm(folder, { recursive: true, force: true });
      if (failures.length > 0) throw new Error("the store failed", { cause: failures[0] });
    },
  };
}
