// Rewriting of garbage with a crash after every step: whatever survives of the engine's database,
// each live body can be read where the database says it is.

import { expect, test } from "vitest";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { type Lsn, lsn, shardId } from "../../../src/mail/ids.ts";
import type { Location } from "../../../src/store/journal.ts";
import type { BodyId } from "../../../src/store/log/types.ts";
import { draft, open } from "./harness.ts";

type Places = ReadonlyMap<Lsn, Location>;

const shard = shardId(0);
const options = { segmentBytes: 3_000, windowBytesMax: 1 };

test("a crash at any step of a rewrite loses no live body", async () => {
  const disk = new SimulatedDisk({ seed: 3 });
  /** What LevelDB holds, step by step: as flushed, and with all that was written. */
  const flushed: { step: number; places: Places }[] = [];
  const written: { step: number; places: Places }[] = [];
  const places = new Map<Lsn, Location>();
  const bodies = new Map<Lsn, Buffer>();
  const note = (history: typeof flushed): void => {
    history.push({ step: disk.trace.length, places: new Map(places) });
  };
  const flush = async (): Promise<void> => note(flushed);
  const { log } = await open(disk, { ...options, flush });
  for (let at = 1; at <= 24; at++) {
    const entry = draft(0, `entry ${at}`, 500 + at);
    const { location, group, lsn: own } = log.append(entry);
    await group.durable;
    if (at % 3 !== 0) continue;
    places.set(own, location);
    bodies.set(own, Buffer.from(entry.body ?? []));
    note(written);
  }
  log.setCommitMark(shard, lsn(24));
  log.setApplied(shard, lsn(24));
  await log.checkpoint();
  const start = disk.trace.length;
  const chosen = log.collectable().map(({ segment }) => segment);
  expect(chosen.length).toBeGreaterThan(2);
  const result = await log.rewrite(chosen, {
    liveOrder: async (found: readonly BodyId[]) =>
      found.map((body) => (places.has(body.lsn) ? body.lsn : undefined)),
    relocate: async (body: BodyId, _from: Location, to: Location) => {
      places.set(body.lsn, to);
      note(written);
    },
  });
  expect(result).toEqual({ removed: chosen, damaged: [], unreadable: [] });

  for (let step = start; step <= disk.trace.length; step++) {
    for (const history of [flushed, written]) {
      const known =
        history.findLast((each) => each.step <= step)?.places ?? new Map<Lsn, Location>();
      expect(known.size).toBe(bodies.size);
      for (const mode of ["lose", "random", "keep"] as const) {
        const copy = SimulatedDisk.replay(disk.trace, step, step);
        copy.crash(mode);
        const again = await open(copy, options);
        expect(again.log.damage).toEqual([]);
        for (const [own, location] of known) {
          expect(Buffer.from(await again.log.read(location))).toEqual(bodies.get(own));
        }
        await again.log.close();
      }
    }
  }
}, 30_000);
