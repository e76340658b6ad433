// A copy that logged an entry but has not heard that it is committed (its primary is away) keeps the
// blob that the entry refers to, however long that takes.

import { Buffer } from "node:buffer";
import { expect, it } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { epoch, lsn } from "../../../src/mail/ids.ts";
import { openStore } from "../../../src/store/open-store.ts";
import { makeDatabase, never, nextOp, shard } from "./harness.ts";

async function* content(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from("large"));
}

/** A store with one large body, `d1`, and what is left of it two days later. */
async function openWithBlob() {
  const clock = new SimulatedClock();
  const opened = await openStore({
    disk: new SimulatedDisk(),
    index: makeDatabase(),
    clock,
    random: new SeededRandom(5),
    makeJournal: async ({ log, bodies }) => {
      const config = { epoch: epoch(1), sealedEpoch: epoch(0), config: new Uint8Array(0) };
      await log.writeConfig(shard, config).durable;
      const propose = (): never => {
        throw new Error("nothing is proposed here");
      };
      return { journal: { propose, serves: () => false }, bodies };
    },
    onFatal: (error) => {
      throw error;
    },
  });
  const { blobs, upkeep } = opened;
  await opened.bodies.writeBlob(shard, "d1", content(), never);
  const sweep = async (): Promise<readonly string[]> => {
    for (let day = 0; day < 2; day++) {
      await upkeep.sweepNow();
      clock.advance(86_400_000);
    }
    await upkeep.sweepNow();
    return blobs.list();
  };
  return { opened, sweep };
}

it("a blob stays while an entry of the log is not applied, and goes a day after that", async () => {
  const { opened, sweep } = await openWithBlob();
  const { log } = opened;
  const draft = { shard, opId: nextOp(), kind: 99, head: new Uint8Array(0), payload: undefined };
  await log.append(draft).group.durable;
  expect(await sweep()).toEqual(["d1"]);
  expect(await sweep()).toEqual(["d1"]);
  log.setCommitMark(shard, lsn(1));
  log.setApplied(shard, lsn(1));
  expect(await sweep()).toEqual([]);
  await opened.close();
});

it("a blob stays while a tail is kept: its entries are applied when the copy is filled", async () => {
  const { opened, sweep } = await openWithBlob();
  const { tails } = opened.log;
  await tails.start(shard, lsn(7), 1).durable;
  expect(await sweep()).toEqual(["d1"]);
  expect(await sweep()).toEqual(["d1"]);
  await tails.drop(shard).durable;
  expect(await sweep()).toEqual([]);
  await opened.close();
});
