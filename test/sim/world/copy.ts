// Where a copy comes from: its own disk after a start, as recover-shard.ts finds it, or a full copy of
// another node's. A copy that is being made is void from the first step until all of it is durable.

import { epoch as makeEpoch, lsn as makeLsn } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import type { Recovered } from "../../../src/cluster/protocol/replica-state.ts";
import { endOf, entryAt, hashOf } from "./disk.ts";
import type { ShardImage } from "./disk.ts";
import type { NodeProcess } from "./node-process.ts";
import type { SimShell } from "./node-shell.ts";

/** `all`: with the rule broken that only committed entries are applied after a start. */
export function recover(image: ShardImage, all: boolean): Recovered {
  const { main, tail, config, sealedEpoch } = image;
  const applied = all ? endOf(main) : Math.min(image.mark, endOf(main));
  const above = main.entries.slice(applied - main.baseLsn);
  const first = tail && {
    baseLsn: makeLsn(tail.baseLsn),
    baseHash: tail.baseHash,
    hashes: tail.entries.map(({ hash }) => hash),
  };
  return {
    config,
    sealedEpoch: makeEpoch(sealedEpoch),
    appliedLsn: makeLsn(applied),
    appliedHash: hashOf(main, applied) ?? 0,
    endEpoch: entryAt(main, endOf(main))?.epoch ?? makeEpoch(0),
    tail: above.map(({ hash }) => hash),
    ...(first === undefined ? {} : { first }),
  };
}

export function copyShard(process: NodeProcess, shell: SimShell, from: MemberId): void {
  const { world, life, log } = process;
  const { shard } = shell;
  const fail = () => shell.step({ kind: "copied", point: undefined, nowMs: process.nowMs });
  life.main.after(world.draws.skewed(5, 300), () => {
    const source = world.nodeOf(from);
    if (source?.process === undefined || !process.isLinked(from)) return fail();
    log.write(shard, (image) => {
      image.main = { baseLsn: 0, baseHash: 0, entries: [] };
      image.mark = 0;
      image.copiedTo = 0;
    });
    life.main.after(world.draws.skewed(5, 500), () => {
      const giver = source.process?.shell(shard);
      if (giver === undefined || !process.isLinked(from)) return fail();
      const { appliedLsn } = giver.state;
      const entries = giver.image.main.entries.slice(0, appliedLsn);
      const hash = hashOf(giver.image.main, appliedLsn) ?? 0;
      world.trace(
        () => `${process.name} shard ${shard} is copied from ${from} up to ${appliedLsn}`,
      );
      const take = (image: ShardImage) => {
        image.main = { baseLsn: 0, baseHash: 0, entries: entries.slice() };
        image.mark = appliedLsn;
        image.copiedTo = appliedLsn;
      };
      log.write(shard, take, () => {
        shell.learn();
        const point = { lsn: appliedLsn, hash };
        shell.step({ kind: "copied", point, nowMs: process.nowMs });
      });
    });
  });
}
