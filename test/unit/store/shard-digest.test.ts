// Digests of copies: alike whatever each node folded, swept or read meanwhile, and different as soon as
// one of them lacks a row that counts.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accountInKey, bodyTable, space, table } from "../../../src/store/keyspace.ts";
import { digestPage, lastUnit } from "../../../src/store/shard-digest.ts";
import type { DigestPage } from "../../../src/store/shard-digest.ts";
import { message, shard } from "./harness.ts";
import { outcome, step, visible } from "./random-steps.ts";
import { addUser, close, copy, deliverTo, follow, open } from "./two-stores.ts";
import type { Node } from "./two-stores.ts";

const all = { after: -1, through: lastUnit };
const unpaced = (): Promise<void> => Promise.resolve();

function digests({ opened }: Node, range = all): Promise<DigestPage> {
  const { engine, log } = opened;
  return digestPage({ rows: engine.rows, log }, shard, range, unpaced);
}

describe("digests of two copies", () => {
  it("are equal after any changes, whatever each has folded, swept and loaded", async () => {
    const runs = fc.array(fc.tuple(step, fc.integer({ min: 0, max: 5 })), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(runs, async (steps) => {
        const [good, other] = [await open(), await open()];
        const who = await addUser(good, shard, 1);
        await addUser(good, shard, 2);
        await copy(good, other);
        let at = 0;
        for (const [one, meanwhile] of steps) {
          at++;
          await outcome(
            { store: good.opened.store, who },
            one,
            at.toString(16).padStart(32, "0"),
            false,
          );
          const node = meanwhile % 2 === 0 ? good : other;
          await follow(good, other);
          if (meanwhile < 2) await node.opened.upkeep.sweepNow();
          else if (meanwhile < 4) node.opened.engine.accounts.forgetIdle();
          else if (node === good || at % 3 === 0) await visible({ ...node.opened, who });
        }
        const [ours, theirs] = [await digests(good), await digests(other)];
        expect(theirs.units).toEqual(ours.units);
        expect(ours.units.map(({ sound }) => sound)).toEqual([true, true, true]);
        expect([ours.missing, theirs.missing]).toEqual([[], []]);
        expect(theirs.lsn).toBe(ours.lsn);
        await close(good, other);
      }),
      { numRuns: 60 },
    );
  });

  it("differ, or don't add up, when any row is lost that is not a node's own", async () => {
    const node = await open();
    const who = await addUser(node, shard, 1);
    for (let n = 0; n < 9; n++) await deliverTo(node, [who], message(`m${n}`));
    const { store, engine } = node.opened;
    const side = { store, who };
    const steps = fc.sample(step, { numRuns: 120, seed: 11 });
    for (const [at, one] of steps.entries())
      await outcome(side, one, (at + 1).toString(16).padStart(32, "0"), false);
    await engine.rows.drained();
    const before = await digests(node);
    const lost = new Set<string>();
    const unseen = new Set<string>();
    const rows: [Buffer, Buffer][] = [];
    for await (const row of node.index.iterator()) rows.push(row);
    for (const [key, value] of rows) {
      await node.index.del(key);
      const after = await digests(node);
      const isSeen = JSON.stringify(after) !== JSON.stringify(before);
      (isSeen ? lost : unseen).add(kindOf(key));
      await node.index.put(key, value);
    }
    // Rows of deleted mailboxes and messages may be of any kind: they are nobody's.
    for (const kind of lost) unseen.delete(kind);
    const counted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 20].map((each) => `account ${each}`);
    expect([...lost]).toEqual(expect.arrayContaining([...counted, "body 0", "body 1", "shard 1"]));
    const own = [table.fold, table.outcome, table.delivery, table.page, table.pages];
    const allowed = [
      ...own.map((each) => `account ${each}`),
      "node",
      "gone",
      "unconfirmed",
      "blob",
      "body trace",
    ];
    expect([...unseen].filter((kind) => !allowed.includes(kind))).toEqual([]);
    await close(node);
  });

  it("come in pages, each as of one entry", async () => {
    const node = await open();
    for (let counter = 1; counter <= 250; counter++) await addUser(node, shard, counter);
    const first = await digests(node);
    expect(first.units).toHaveLength(200);
    const second = await digests(node, { after: first.through, through: lastUnit });
    expect(second.units).toHaveLength(51);
    expect(second.through).toBe(lastUnit);
    const alone = first.units[7]?.unit ?? 0;
    const [one] = (await digests(node, { after: alone - 1, through: alone })).units;
    expect(one).toEqual(first.units[7]);
    await close(node);
  });
});

function kindOf(key: Buffer): string {
  switch (key[0]) {
    case space.account:
      return `account ${key[9]}`;
    case space.body:
      return `body ${key[11] === bodyTable.owner && accountInKey(key, 20) === 0 ? "trace" : key[11]}`;
    case space.shard:
      return `shard ${key[3]}`;
    case space.node:
      return "node";
    case space.gone:
      return "gone";
    case space.unconfirmed:
      return "unconfirmed";
    case space.blob:
      return "blob";
    default:
      return `space ${key[0]}`;
  }
}
