// A gateway's routed store over one mail service in this process: links that break when told to, a
// shard table that a test may change.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { MailService } from "../../../src/cluster/node/mail-service.ts";
import { RoutedMailStore } from "../../../src/cluster/node/routed-mail-store.ts";
import { encodeShardConfig, shardKey } from "../../../src/cluster/node/shard-codec.ts";
import { ShardTable } from "../../../src/cluster/node/shard-table.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { realDisk } from "../../../src/lib/real-disk.ts";
import { epoch, memberId, shardId, storeId } from "../../../src/mail/ids.ts";
import type { ShardId } from "../../../src/mail/ids.ts";
import type { MailStore } from "../../../src/mail/mail-store.ts";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import { linksTo, MemoryPeer } from "./memory-links.ts";

const closers: (() => Promise<void> | void)[] = [];

/** Closes what tests opened; for `afterEach`. */
export async function closeWorlds(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

/** One shard, in epoch 1, whose primary is `peer`. */
export async function world(
  retryMs = 2000,
  store: MailStore = new FakeMailStore(),
  shard: ShardId = shardId(1),
) {
  const folder = await mkdtemp(join(tmpdir(), "pabal-routed-"));
  const log = pino({ level: "silent" });
  const coordinator = await EmbeddedCoordinator.open({
    disk: realDisk(folder),
    path: "coordinator.log",
    clock: systemClock,
    log,
    fatal: () => undefined,
  });
  const put = async (number: number): Promise<void> => {
    const key = shardKey(shard);
    const ifRevision = (await coordinator.get(key))?.revision ?? 0;
    const value = encodeShardConfig({
      shard,
      epoch: epoch(number),
      primary: { node: memberId("n1"), store: storeId("0".repeat(32)) },
      secondaries: [],
      minCopies: 1,
      nonce: "",
    });
    await coordinator.compareAndSet([{ key, ifRevision, value }]);
  };
  await put(1);
  const table = await ShardTable.open({ coordinator, clock: systemClock, logger: log });
  closers.push(async () => {
    table.close();
    await coordinator.close();
    await rm(folder, { recursive: true });
  });
  const peer = new MemoryPeer();
  const node = { epoch: 1, serving: true };
  new MailService(store, {
    serves: () => node.serving,
    epochOf: () => epoch(node.epoch),
  }).register(peer.registry);
  const links = linksTo(peer);
  const routed = new RoutedMailStore({ table, links, clock: systemClock, retryMs });
  return { peer, node, routed, put, store };
}
