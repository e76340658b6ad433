// Large bodies that several entries share: what one account deletes, another still has. Two shards of
// one node may be sent the same blob at once.

import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { makeAccountId, mailboxId, shardId } from "../../../src/mail/ids.ts";
import type { ShardId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { createAccount } from "../../../src/store/accounts.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { OpenedStore } from "../../../src/store/open-store.ts";
import { change, delivery, makeDatabase, message, never } from "./harness.ts";

const shards = [shardId(1), shardId(2)] as const;
const bytes = Buffer.from(message("large", "y".repeat(400_000)));

async function open(clock: SimulatedClock): Promise<OpenedStore> {
  return openStore({
    disk: new SimulatedDisk(),
    index: makeDatabase(),
    clock,
    random: new SeededRandom(5),
    shards,
    onFatal: (error) => {
      throw error;
    },
  });
}

async function addUser(opened: OpenedStore, shard: ShardId, number: number, most = 0) {
  const account = makeAccountId(shard, number);
  const fields = { name: `u${number}@pabal.test`, aliases: [], credentials: { hash: "" } };
  const limits = { quotaBytes: 0, quotaMessages: most, profile: {}, mailboxes: [] };
  const request = { ...change(), shard, account, ...fields, ...limits, uidValidityFloor: 0 };
  await createAccount(opened.engine, request, never);
  return { account, shard, credVersion: 1 } satisfies Principal;
}

async function* pieces(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 50_000) {
    await Promise.resolve();
    yield bytes.subarray(at, at + 50_000);
  }
}

async function stored(opened: OpenedStore, who: Principal): Promise<boolean> {
  const parts: Uint8Array[] = [];
  const request = { mailbox: mailboxId(1), uids: allUids };
  const items = { sections: [{ path: [], kind: "body" as const, label: "BODY[]" }] };
  for await (const chunk of opened.store.fetch(who, { ...request, items }, never)) {
    parts.push(Uint8Array.from(chunk.bytes));
  }
  return Buffer.concat(parts).indexOf(bytes) > 0;
}

/** Everything that follows deletion, until blobs without an owner are gone. */
async function sweep(opened: OpenedStore, clock: SimulatedClock): Promise<void> {
  const { blobs, garbage } = opened;
  for (let round = 0; round < 2; round++) {
    await garbage.dropDeadBlobs(never);
    await blobs.sweep((name) => garbage.blobIsUsed(name), 86_400_000);
    await opened.upkeep.stop(); // A clock that is put forward must not begin it now.
    clock.advance(2 * 86_400_000);
  }
}

describe("a blob", () => {
  it("that two shards were sent at once is whole in both", async () => {
    const opened = await open(new SimulatedClock());
    for (const [at, shard] of shards.entries()) await addUser(opened, shard, at + 1);
    const blobs = await Promise.all(
      shards.map((shard) => opened.store.writeBlob(shard, "d1", pieces(), never)),
    );
    for (const [at, shard] of shards.entries()) {
      const blob = blobs[at];
      if (blob === undefined) throw new Error("no blob");
      const who = { account: makeAccountId(shard, at + 1), shard, credVersion: 1 };
      const request = { ...delivery([who], bytes), shard };
      await opened.store.deliver({ ...request, source: { kind: "blob", blob } }, never);
      expect(await stored(opened, who)).toBe(true);
    }
    await opened.close();
  });

  it("that two entries refer to stays until both are gone", async () => {
    const clock = new SimulatedClock();
    const opened = await open(clock);
    const a = await addUser(opened, shards[0], 1);
    const b = await addUser(opened, shards[0], 2, 1);
    const full = { ...delivery([b], message("fills the quota")), shard: shards[0] };
    await opened.store.deliver(full, never);
    const blob = await opened.store.writeBlob(shards[0], "d1", pieces(), never);
    const request = {
      ...delivery([a, b], bytes),
      shard: shards[0],
      source: { kind: "blob" as const, blob },
    };
    expect(await opened.store.deliver(request, never)).toMatchObject([{ ok: true }, { ok: false }]);
    const all = { mailbox: mailboxId(1), uids: allUids, force: true };
    await opened.store.expunge(b, { ...change(), ...all }, never);
    // The answer was lost; by now the second recipient has room.
    const again = await opened.store.deliver({ ...request, retry: true }, never);
    expect(again).toMatchObject([{ ok: true }, { ok: true }]);
    await opened.store.expunge(b, { ...change(), ...all }, never);
    await sweep(opened, clock);
    expect(await stored(opened, a)).toBe(true);
    await opened.store.expunge(a, { ...change(), ...all }, never);
    await sweep(opened, clock);
    expect(await opened.blobs.list()).toEqual([]);
    await opened.close();
  });
});
