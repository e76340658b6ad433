// A shard whose primary and secondary change places, by a change of the shard table as the next
// manager will make it: nobody who waited at the old primary waits for ever, nothing is lost.

import { afterEach, expect, test } from "vitest";
import { encodeShardConfig, shardKey } from "../../src/cluster/node/shard-codec.ts";
import { isMailError } from "../../src/mail/errors.ts";
import { epoch, shardId } from "../../src/mail/ids.ts";
import {
  again,
  deliver,
  deliverRequest,
  message,
  never,
  open,
  stored,
} from "../conformance/mail-store-kit.ts";
import { MailCluster, until } from "../support/mail-cluster.ts";

let cluster: MailCluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

/** Commits a config in which the shard's members have changed places. */
async function swap(running: MailCluster, shard: number): Promise<void> {
  const { secondaries, ...config } = running.config(shard);
  const [primary] = secondaries;
  if (primary === undefined) throw new Error("no secondary");
  const { node, store } = primary;
  const next = {
    ...config,
    epoch: epoch(config.epoch + 1),
    primary: { node, store },
    secondaries: [{ ...config.primary, full: true }],
  };
  const key = shardKey(shardId(shard));
  const found = await running.coordinator.get(key);
  const value = encodeShardConfig(next);
  const change = { key, ifRevision: found?.revision ?? 0, value };
  expect((await running.coordinator.compareAndSet([change])).ok).toBe(true);
}

test("an old primary answers who waits, ends its watchers, and the retry is stored once", async () => {
  cluster = await MailCluster.start({
    nodes: ["n1", "n2"],
    replicaLimits: { commitMs: 60_000, resendMs: 60_000 },
  });
  const running = cluster;
  const who = await running.addAccount(0);
  const { store } = running.gateway;
  expect(await deliver(store, who, message("first"))).toBe(1);
  const oldPrimary = running.node(running.primaryOf(0));
  const secondary = running.secondaryOf(0);
  await running.killNode(secondary);
  const watching = oldPrimary.opened.store.watch(who, { mailboxes: "all" }, never);
  const watchEnded = watching[Symbol.asyncIterator]()
    .next()
    .then(
      () => "event",
      (error: unknown) => (isMailError(error) ? error.code : "other"),
    );
  const request = deliverRequest([who], message("second"));
  const waiting = oldPrimary.opened.store.deliver(request, never).then(
    () => "stored",
    (error: unknown) => (isMailError(error) ? error.code : "other"),
  );
  const { pending } = oldPrimary.opened.engine;
  await until(() => pending.size === 1, "proposed");
  await swap(running, 0);
  expect(await waiting).toBe("REPLICA_UNREACHABLE");
  expect(await watchEnded).toBe("UNAVAILABLE");
  expect(pending.size).toBe(0);
  await running.startNode(secondary);
  const [outcome] = await store.deliver(again(request), never);
  expect(stored(outcome).uid).toBe(2);
  expect(await deliver(store, who, message("third"))).toBe(3);
  await swap(running, 0);
  expect(await deliver(store, who, message("fourth"))).toBe(4);
  expect([...(await open(store, who)).uids]).toEqual([1, 2, 3, 4]);
});
