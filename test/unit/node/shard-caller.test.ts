// A request finds the shard's primary wherever it is by then: it is woken by the new primary, by the
// shard table and by links, asks no more than it must, and keeps its operation's identity.

import { setMaxListeners } from "node:events";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { failoverMethods } from "../../../src/cluster/node/failover-wire.ts";
import { ShardCaller } from "../../../src/cluster/node/shard-caller.ts";
import { ShardTable } from "../../../src/cluster/node/shard-table.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { isMailError, MailError } from "../../../src/mail/errors.ts";
import { epoch, memberId, shardId, storeId } from "../../../src/mail/ids.ts";
import { linksTo, MemoryPeer } from "./memory-links.ts";

const shard = shardId(3);
const never = new AbortController().signal;
setMaxListeners(0, never);
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function config(of: number): ShardConfig {
  return {
    shard,
    epoch: epoch(of),
    primary: { node: memberId("n1"), store: storeId("1".repeat(32)) },
    secondaries: [],
    minCopies: 1,
    nonce: "",
  };
}

async function setUp(retryMs = 5000) {
  const log = pino({ level: "silent" });
  const coordinator = await EmbeddedCoordinator.open({
    disk: new SimulatedDisk(),
    path: "coordinator.log",
    clock: systemClock,
    log,
    fatal: (error) => {
      throw error;
    },
  });
  closers.push(() => coordinator.close());
  const table = await ShardTable.open({ coordinator, clock: systemClock, logger: log });
  closers.push(() => table.close());
  table.learn(config(1));
  const peer = new MemoryPeer();
  const node = { serves: false, asked: 0, wake: (): void => undefined };
  peer.registry.onCall(failoverMethods.serving, async () => {
    node.asked++;
    await new Promise<void>((resolve) => {
      node.wake = resolve;
    });
    return { head: node.serves };
  });
  const tries = { count: 0 };
  peer.registry.onCall("test", () => {
    tries.count++;
    if (!node.serves) throw new MailError({ code: "WRONG_NODE", shard, epoch: epoch(1) });
    return { head: "done" };
  });
  const caller = new ShardCaller({ table, links: linksTo(peer), clock: systemClock, retryMs });
  const ask = (): Promise<unknown> =>
    caller.run(shard, never, async (to, _epoch, retry, leftMs) => {
      const { head } = await to.call("test", retry, { signal: never, deadlineMs: leftMs });
      return head;
    });
  return { table, peer, node, tries, ask };
}

/** Lets everything run that is ready to. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

test("many requests ask once, and go on the moment the primary serves", async () => {
  const { node, tries, ask } = await setUp();
  const asked = Array.from({ length: 20 }, () => ask());
  await settle();
  expect([node.asked, tries.count]).toEqual([1, 20]);
  node.serves = true;
  const fromMs = performance.now();
  node.wake();
  expect(new Set(await Promise.all(asked))).toEqual(new Set(["done"]));
  expect(performance.now() - fromMs).toBeLessThan(200);
  expect(tries.count).toBe(40);
});

test("a new epoch in the table wakes who waits", async () => {
  const { node, table, tries, ask } = await setUp();
  const asked = ask();
  await settle();
  expect(tries.count).toBe(1);
  node.serves = true;
  table.learn(config(2));
  expect(await asked).toBe("done");
});

test("a broken link is waited for, and its return wakes", async () => {
  const { node, peer, tries, ask } = await setUp();
  node.serves = true;
  peer.setUp(false);
  const asked = ask();
  await settle();
  expect(tries.count).toBe(0);
  peer.setUp(true);
  expect(await asked).toBe("done");
});

test("missing copies are waited for as long as the shard may get others", async () => {
  const { table, peer } = await setUp();
  const caller = new ShardCaller({ table, links: linksTo(peer), clock: systemClock });
  const unsafe = new MailError({ code: "REPLICA_UNREACHABLE", shard });
  const epochs: number[] = [];
  const asked = caller.run(shard, never, (_peer, of) => {
    epochs.push(of);
    return of < 2 ? Promise.reject(unsafe) : Promise.resolve("done");
  });
  await settle();
  table.learn(config(2));
  expect([await asked, epochs]).toEqual(["done", [1, 2]]);
  await expect(caller.run(shard, never, () => Promise.reject(unsafe))).rejects.toBe(unsafe);
});

test("a queue that is full and a node that stops are asked again, a client's mistake is not", async () => {
  const { table, peer } = await setUp();
  const failures = [
    new MailError({ code: "BUSY", what: "journal" }),
    new MailError({ code: "UNAVAILABLE", why: "stopping" }),
  ];
  const caller = new ShardCaller({ table, links: linksTo(peer), clock: systemClock });
  const retries: boolean[] = [];
  const outcome = await caller.run(shard, never, (_peer, _epoch, retry) => {
    retries.push(retry);
    const failure = failures.shift();
    return failure === undefined ? Promise.resolve("done") : Promise.reject(failure);
  });
  expect([outcome, retries]).toEqual(["done", [false, true, true]]);
  const refused = caller.run(shard, never, () =>
    Promise.reject(new MailError({ code: "OVER_QUOTA" })),
  );
  await expect(refused).rejects.toSatisfy((error) => isMailError(error, "OVER_QUOTA"));
});

test("after the deadline nobody waits any more", async () => {
  const { ask } = await setUp(50);
  await expect(ask()).rejects.toSatisfy((error) => isMailError(error, "UNAVAILABLE"));
});
