// Bytes that rot in one copy: whatever bit flips, no wrong byte is served, and reads or the scrubber
// put the other copy's in its place. What both have lost is shown as lost.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { mailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { space } from "../../../src/store/keyspace.ts";
import { RepairGiver } from "../../../src/store/repair-source.ts";
import type { RepairSource } from "../../../src/store/repair-source.ts";
import { rowIsSound } from "../../../src/store/row.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { change, fetched, message, never, shard } from "./harness.ts";
import { visible } from "./random-steps.ts";
import { addUser, close, copy, deliverLarge, deliverTo, follow, open } from "./two-stores.ts";
import type { Node } from "./two-stores.ts";

/** The other store as its member asks it. */
function sourceOf(node: Node): RepairSource {
  const { engine, log, blobs } = node.opened;
  const giver = new RepairGiver({ rows: engine.rows, log, blobs, clock: systemClock });
  return {
    body: (id) => giver.body(id),
    blob: (_, name) => giver.blob({ name }),
    rows: (of, atLeast, ranges) => giver.rows(of, atLeast, ranges, never),
  };
}

/** Two equal copies with some mail of all kinds, the second one freshly opened: nothing in RAM. */
async function twoCopies(): Promise<{ good: Node; bad: Node; who: Principal }> {
  const [good, filled] = [await open(), await open()];
  const who = await addUser(good, shard, 1);
  await deliverLarge(good, who, "blob-one");
  await copy(good, filled);
  for (let n = 0; n < 30; n++) {
    await deliverTo(good, [who], message(`m${n}`, `${n}`.repeat(n * 20)));
  }
  const some = { mailbox: mailboxId(1), uids: [3, 9] };
  const flags = { mode: "add", flags: ["\\Seen", "kept"] } as const;
  await good.opened.store.store(who, { ...change(), ...some, ...flags }, never);
  await good.opened.store.move(who, { ...change(), ...some, target: "Trash" }, never);
  await follow(good, filled);
  await visible({ ...filled.opened, who }); // Folds.
  await close(filled);
  const bad = await open(filled.disk, filled.index);
  bad.opened.repairs.source = sourceOf(good);
  return { good, bad, who };
}

async function flipInIndex(node: Node, random: SeededRandom, share: number): Promise<number> {
  let flipped = 0;
  const rows: [Buffer, Buffer][] = [];
  for await (const row of node.index.iterator()) rows.push(row);
  for (const [key, value] of rows) {
    if (key[0] === space.node || !random.chance(share)) continue;
    const harmed = Buffer.from(value);
    const at = random.below(harmed.length);
    harmed[at] = (harmed[at] ?? 0) ^ (1 << random.below(8));
    await node.index.put(key, harmed);
    flipped++;
  }
  return flipped;
}

async function flipInFiles(node: Node, random: SeededRandom, flips: number): Promise<void> {
  const paths: string[] = [];
  for (const folder of ["log", "blobs"]) {
    for (const name of await node.disk.list(folder)) {
      if (name !== "CHECKPOINT") paths.push(`${folder}/${name}`);
    }
  }
  for (let n = 0; n < flips; n++) {
    const path = paths[random.below(paths.length)] ?? "";
    const { length } = node.disk.contents(path);
    node.disk.flipBit(path, random.below(length), random.below(8));
  }
}

async function badRows(node: Node): Promise<number> {
  let bad = 0;
  await node.opened.engine.rows.drained();
  for await (const [key, value] of node.index.iterator()) if (!rowIsSound(key, value)) bad++;
  return bad;
}

describe("bits that flip in one copy", () => {
  it("are mended by what reads them: rows, bodies, blobs", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new SeededRandom(seed);
      const { good, bad, who } = await twoCopies();
      const flipped = await flipInIndex(bad, random, 0.2);
      await flipInFiles(bad, random, 40);
      expect(await visible({ ...bad.opened, who }), `seed ${seed}`).toEqual(
        await visible({ ...good.opened, who }),
      );
      const { found, lost } = bad.opened.repairs.figures;
      expect(flipped).toBeGreaterThan(10);
      expect(found.row).toBeGreaterThan(3);
      expect(lost).toBe(0);
      await close(good, bad);
    }
  });

  it("are all found and mended by one pass of the scrubber", async () => {
    for (let seed = 20; seed <= 26; seed++) {
      const random = new SeededRandom(seed);
      const { good, bad, who } = await twoCopies();
      await flipInIndex(bad, random, 0.2);
      await flipInFiles(bad, random, 40);
      await bad.opened.scrubber.pass();
      expect(await badRows(bad), `seed ${seed}`).toBe(0);
      const first = bad.opened.repairs.figures;
      expect(first.repaired).toBeGreaterThan(10);
      expect(first.lost).toBe(0);
      expect(await visible({ ...bad.opened, who })).toEqual(await visible({ ...good.opened, who }));
      const { row, body, blob } = bad.opened.repairs.figures.found;
      await bad.opened.scrubber.pass();
      expect(bad.opened.repairs.figures.found).toMatchObject({ row, body, blob });
      await close(good, bad);
    }
  });

  it("stay unserved while nobody can be asked, and are mended later", async () => {
    const { good, bad, who } = await twoCopies();
    await flipInIndex(bad, new SeededRandom(3), 1);
    const asked = sourceOf(good);
    const nobody = (): Promise<never> =>
      Promise.reject(new MailError({ code: "UNAVAILABLE", why: "nobody is there" }));
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      yield await nobody();
    };
    bad.opened.repairs.source = { body: nobody, rows: nobody, blob: silent };
    await expect(visible({ ...bad.opened, who })).rejects.toThrow("DAMAGED");
    bad.opened.repairs.source = asked;
    // Where an account lives is told by rows; with all of them gone only the scrubber finds it.
    await bad.opened.scrubber.pass();
    await bad.opened.scrubber.pass();
    expect(await visible({ ...bad.opened, who })).toEqual(await visible({ ...good.opened, who }));
    await close(good, bad);
  });

  it("on both copies show a notice as long as the message, and nothing else changes", async () => {
    const { good, bad, who } = await twoCopies();
    const before = await visible({ ...good.opened, who });
    for (const node of [good, bad]) {
      for (const name of await node.disk.list("log")) {
        const path = `log/${name}`;
        const at = node.disk.contents(path).indexOf("2525252525");
        if (at >= 0) node.disk.flipBit(path, at + 4, 1);
      }
      node.disk.flipBit("blobs/blob-one", 70_000, 0);
    }
    await bad.opened.scrubber.pass();
    expect(bad.opened.repairs.figures.lost).toBe(2);
    const items = { size: true, sections: [{ path: [], kind: "body" as const, label: "BODY[]" }] };
    const request = { mailbox: mailboxId(1), uids: allUids, items };
    const texts = await fetched(bad.opened.store.fetch(who, request, never));
    const lost = [...texts].filter(([, text]) => text.includes("damaged on every copy"));
    expect(lost.map(([uid]) => uid)).toEqual([1, 27]);
    const [, text = ""] = lost[1] ?? [];
    const size = Number(/RFC822\.SIZE (\d+)/.exec(text)?.[1]);
    expect(text).toContain(`BODY[] {${size}}`);
    expect(JSON.stringify(before)).toContain("252525");
    await close(good, bad);
  });
});

describe("a pass of the scrubber", () => {
  it("goes on where a restart cut it off, and waits a week after its end", async () => {
    const node = await open(new SimulatedDisk());
    const who = await addUser(node, shard, 1);
    await deliverTo(node, [who], message("one"));
    expect(node.opened.scrubber.figures).toMatchObject({ passes: 0, finishedMs: 0 });
    await node.opened.scrubber.pass();
    expect(node.opened.scrubber.figures.passes).toBe(1);
    const { finishedMs } = node.opened.scrubber.figures;
    expect(finishedMs).toBeGreaterThan(0);
    await close(node);
    const again = await open(node.disk, node.index);
    await again.opened.scrubber.start();
    expect(again.opened.scrubber.figures.finishedMs).toBe(finishedMs);
    await close(again);
  });
});
