// Changes of the shard table share transactions, survive refusals one by one, and learn what became
// of those without an answer.

import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import type { Coordinator, KeyCondition } from "../../../src/cluster/coordinator/coordinator.ts";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { ManagerWrites } from "../../../src/cluster/node/manager-writes.ts";
import type { ManagerWritesOptions } from "../../../src/cluster/node/manager-writes.ts";
import { encodeShardConfig, shardKey } from "../../../src/cluster/node/shard-codec.ts";
import { ShardTable } from "../../../src/cluster/node/shard-table.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { epoch, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

type Outcome = Parameters<ManagerWritesOptions["onWrote"]>[0];

const logger = pino({ level: "silent" });
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function config(shard: number, of: number): ShardConfig {
  return {
    shard: shardId(shard),
    epoch: epoch(of),
    primary: { node: memberId("n1"), store: storeId("1".repeat(32)) },
    secondaries: [],
    minCopies: 1,
    nonce: "before",
  };
}

async function setUp(shards: number) {
  const embedded = await EmbeddedCoordinator.open({
    disk: new SimulatedDisk(),
    path: "coordinator.log",
    clock: systemClock,
    log: logger,
    fatal: (error) => {
      throw error;
    },
  });
  closers.push(() => embedded.close());
  for (let shard = 0; shard < shards; shard++) {
    const value = encodeShardConfig(config(shard, 1));
    await embedded.compareAndSet([{ key: shardKey(shardId(shard)), ifRevision: 0, value }]);
  }
  const transactions: (readonly KeyCondition[])[] = [];
  const faults: ((run: () => ReturnType<Coordinator["compareAndSet"]>) => Promise<never>)[] = [];
  const coordinator: Coordinator = {
    get: (key) => embedded.get(key),
    list: (prefix) => embedded.list(prefix),
    watch: (prefix, from, signal) => embedded.watch(prefix, from, signal),
    register: (member, ttlMs) => embedded.register(member, ttlMs),
    readBarrier: () => embedded.readBarrier(),
    compareAndSet: (changes) => {
      transactions.push(changes);
      const fault = faults.shift();
      return fault === undefined
        ? embedded.compareAndSet(changes)
        : fault(() => embedded.compareAndSet(changes));
    },
  };
  const table = await ShardTable.open({ coordinator, clock: systemClock, logger });
  closers.push(() => table.close());
  const outcomes: Outcome[] = [];
  let wake = (): void => undefined;
  const writes = new ManagerWrites({
    coordinator,
    table,
    random: systemRandom,
    clock: systemClock,
    logger,
    onWrote: (outcome) => {
      outcomes.push(outcome);
      wake();
    },
  });
  closers.push(() => writes.close());
  const wrote = async (count: number): Promise<readonly Outcome[]> => {
    while (outcomes.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return outcomes;
  };
  return { embedded, table, writes, wrote, transactions, faults };
}

test("changes of one turn share transactions of at most forty", async () => {
  const { writes, wrote, transactions } = await setUp(50);
  for (let shard = 0; shard < 50; shard++) writes.write(config(shard, 2), epoch(1));
  const outcomes = await wrote(50);
  expect(outcomes.every(({ current }) => current?.epoch === 2)).toBe(true);
  expect(transactions.map(({ length }) => length)).toEqual([40, 10]);
});

test("of a refused batch only the changed shard is not written", async () => {
  const { embedded, writes, wrote, table } = await setUp(3);
  const other = { ...config(1, 2), nonce: "another manager" };
  // The table here does not know of it yet when the batch goes out.
  const found = await embedded.get(shardKey(shardId(1)));
  writes.write(config(0, 2), epoch(1));
  writes.write(config(1, 2), epoch(1));
  writes.write(config(2, 2), epoch(1));
  const value = encodeShardConfig(other);
  const change = { key: shardKey(shardId(1)), ifRevision: found?.revision ?? 0, value };
  expect((await embedded.compareAndSet([change])).ok).toBe(true);
  const outcomes = await wrote(3);
  const nonceOf = (shard: number) =>
    outcomes.find((outcome) => outcome.shard === shard)?.current?.nonce;
  expect(nonceOf(1)).toBe("another manager");
  expect([nonceOf(0), nonceOf(2)]).not.toContain("before");
  expect(table.get(shardId(1))?.epoch).toBeGreaterThan(0);
});

test("a write without an answer is told as what the key holds", async () => {
  const { writes, wrote, faults } = await setUp(2);
  const lost = new MailError({ code: "UNAVAILABLE", why: "the answer was lost" });
  faults.push(async (run) => {
    await run();
    throw lost;
  });
  writes.write(config(0, 2), epoch(1));
  const [first] = await wrote(1);
  expect(first?.current?.epoch).toBe(2);
  faults.push(() => Promise.reject(lost));
  writes.write(config(1, 2), epoch(1));
  const [, second] = await wrote(2);
  expect(second?.current?.epoch).toBe(1);
});

test("of two wishes for one shard within a turn the later one is written", async () => {
  const { writes, wrote, transactions } = await setUp(2);
  writes.write({ ...config(0, 2), minCopies: 1 }, epoch(1));
  writes.write(config(1, 2), epoch(1));
  writes.write({ ...config(0, 2), minCopies: 2 }, epoch(1));
  const outcomes = await wrote(2);
  expect(outcomes.find(({ shard }) => shard === 0)?.current?.minCopies).toBe(2);
  expect(transactions.map(({ length }) => length)).toEqual([2]);
});
