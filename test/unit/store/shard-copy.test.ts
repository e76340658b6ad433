// A full copy of a shard: everything that can be read of it is the same in the other store, whatever
// that held before; it is as of one entry of the log, and the entries behind it go on from there.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";
import { mailboxId } from "../../../src/mail/ids.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { claimOf, putClaim } from "../../../src/store/claims.ts";
import type { CopyPiece } from "../../../src/store/shard-copy.ts";
import { change, delivery, fetched, message, never, nextOp, shard } from "./harness.ts";
import { outcome, step, visible } from "./random-steps.ts";
import {
  addUser,
  close,
  copy,
  deliverLarge,
  deliverTo,
  follow,
  open,
  other,
} from "./two-stores.ts";
import type { Node } from "./two-stores.ts";

async function piecesOf(node: Node): Promise<CopyPiece[]> {
  const pieces: CopyPiece[] = [];
  for await (const piece of node.opened.copies.exportShard(shard, never)) pieces.push(piece);
  return pieces;
}

async function* streamOf(pieces: readonly CopyPiece[]): AsyncGenerator<CopyPiece> {
  yield* pieces;
}

describe("a full copy of a shard", () => {
  it("reads the same after any history, over whatever was there, and goes on by entries", async () => {
    const history = fc.array(step, { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(history, history, history, async (before, stale, after) => {
        const [from, to] = [await open(), await open()];
        const who = await addUser(from, shard, 1);
        const old = await addUser(to, shard, 1);
        const keeper = await addUser(to, other, 7);
        await deliverTo(to, [keeper], message("kept"));
        for (const one of before) await outcome({ ...from.opened, who }, one, nextOp(), false);
        for (const one of stale) {
          await outcome({ ...to.opened, who: old }, one, nextOp(), false);
        }
        const kept = await visible({ ...to.opened, who: keeper });
        const expected = await visible({ ...from.opened, who });
        const later = [...after];
        const point = await copy(from, to, async () => {
          const one = later.pop();
          if (one !== undefined) await outcome({ ...from.opened, who }, one, nextOp(), false);
        });
        expect(await visible({ ...to.opened, who })).toEqual(expected);
        expect(to.opened.log.state(shard)).toMatchObject({
          lastLsn: point.lsn,
          lastHash: point.hash,
          commitMark: point.lsn,
          applied: point.lsn,
          damaged: false,
        });
        for (const one of later) await outcome({ ...from.opened, who }, one, nextOp(), false);
        await follow(from, to);
        expect(to.opened.log.state(shard).lastHash).toBe(from.opened.log.state(shard).lastHash);
        expect(await visible({ ...to.opened, who })).toEqual(
          await visible({ ...from.opened, who }),
        );
        // A new process sees the same, and what the old copy had logged does not come back.
        await close(to);
        const again = await open(to.disk, to.index);
        expect(await visible({ ...again.opened, who })).toEqual(
          await visible({ ...from.opened, who }),
        );
        expect(await visible({ ...again.opened, who: keeper })).toEqual(kept);
        await close(from, again);
      }),
      { numRuns: Number(process.env["COPY_RUNS"] ?? 30) },
    );
  }, 60_000);

  it("brings deliveries whose clients may not know, for later starts, too", async () => {
    const [from, to] = [await open(), await open()];
    const who = await addUser(from, shard, 1);
    const plain = { ...delivery([who], message("once")), shard };
    const recipients = [{ account: who.account, fingerprint: "a".repeat(32) }];
    const first = await from.opened.store.deliver({ ...plain, recipients }, never);
    await copy(from, to);
    await close(to);
    const again = await open(to.disk, to.index);
    const request = { ...plain, ...change(), recipients };
    expect(await again.opened.store.deliver(request, never)).toEqual(first);
    await close(from, again);
  });

  it("brings bodies of several accounts, blobs, claims and deleted mailboxes", async () => {
    const [from, to] = [await open(), await open()];
    const [one, two] = [await addUser(from, shard, 1), await addUser(from, shard, 2)];
    for (let n = 0; n < 40; n++) await deliverTo(from, [one, two], message(`m${n}`, "x".repeat(n)));
    await deliverLarge(from, one, "blob-one");
    const named = { ...change(), shard, name: "alias@pabal.test", target: shard };
    await putClaim(from.opened.engine, { ...named, account: one.account }, never);
    const mailbox = { ...change(), name: "gone" };
    const made = await from.opened.store.createMailbox(one, mailbox, never);
    await from.opened.store.copy(
      one,
      { ...change(), mailbox: mailboxId(1), uids: [1, 9], target: "gone" },
      never,
    );
    await from.opened.store.deleteMailbox(one, { ...change(), name: "gone" }, never);
    expect(made.id).toBeGreaterThan(1);
    await copy(from, to);
    for (const who of [one, two]) {
      expect(await visible({ ...to.opened, who })).toEqual(await visible({ ...from.opened, who }));
    }
    const claim = await claimOf(to.opened.engine, shard, "alias@pabal.test");
    expect(claim).toMatchObject({ account: one.account, state: "claimed" });
    await to.opened.upkeep.sweepNow();
    expect(await visible({ ...to.opened, who: one })).toEqual(
      await visible({ ...from.opened, who: one }),
    );
    await close(from, to);
  });

  it("keeps what it still has to read while segments are rewritten", async () => {
    const from = await open();
    const to = await open();
    const who = await addUser(from, shard, 1);
    const text = "y".repeat(3000);
    for (let n = 0; n < 60; n++) await deliverTo(from, [who], message(`m${n}`, text));
    const expected = await visible({ ...from.opened, who });
    let expunged = false;
    await copy(from, to, async () => {
      if (expunged) return;
      expunged = true;
      const all = { ...change(), mailbox: mailboxId(1), uids: allUids, force: true };
      await from.opened.store.expunge(who, all, never);
      await from.opened.checkpoint();
      await from.opened.upkeep.sweepNow();
    });
    expect(expunged).toBe(true);
    expect(await visible({ ...to.opened, who })).toEqual(expected);
    await close(from, to);
  });

  it("marks a body that is damaged at its source, and shows a notice in its place", async () => {
    const [from, to] = [await open(), await open()];
    const who = await addUser(from, shard, 1);
    await deliverTo(from, [who], message("first", "a".repeat(200)));
    const harmed = message("second", "b".repeat(200));
    await deliverTo(from, [who], harmed);
    const at = from.disk.contents("log/0000000001.seg").indexOf("bbbbbb");
    from.disk.flipBit("log/0000000001.seg", at + 3, 0);
    let lost = 0;
    await copy(from, to, () => {
      lost = Math.max(lost, ...to.opened.copies.progress.map(({ lostBodies }) => lostBodies));
    });
    expect(lost).toBe(1);
    const items = { size: true, sections: [{ path: [], kind: "body" as const, label: "BODY[]" }] };
    const request = { mailbox: mailboxId(1), uids: allUids, items };
    const texts = await fetched(to.opened.store.fetch(who, request, never));
    expect(texts.get(1)).toContain("aaaa");
    expect(texts.get(2)).toContain("damaged on every copy");
    expect(texts.get(2)).toContain(`RFC822.SIZE ${harmed.length}`);
    await close(from, to);
  });
});

describe("a copy that does not come to its end", () => {
  it("leaves none, is known to be none after a restart, and the next one is whole", async () => {
    const from = await open();
    const who = await addUser(from, shard, 1);
    for (let n = 0; n < 10; n++) await deliverTo(from, [who], message(`m${n}`));
    const pieces = await piecesOf(from);
    const to = await open();
    const old = await addUser(to, shard, 1);
    await deliverTo(to, [old], message("old"));
    const cut = to.opened.copies.importShard(shard, streamOf(pieces.slice(0, -1)), never);
    await expect(cut).rejects.toThrow("cut off");
    expect(to.opened.log.state(shard).damaged).toBe(true);
    await close(to);
    const again = await open(to.disk, to.index);
    expect(again.opened.log.damage.flatMap(({ shards }) => shards)).toContain(shard);
    expect(again.opened.log.state(shard).damaged).toBe(true);
    await copy(from, again);
    expect(await visible({ ...again.opened, who })).toEqual(await visible({ ...from.opened, who }));
    await close(from, again);
  });

  it("leaves the old copy alone when nothing came at all", async () => {
    const to = await open();
    const who = await addUser(to, shard, 1);
    await deliverTo(to, [who], message("old"));
    const before = await visible({ ...to.opened, who });
    await expect(to.opened.copies.importShard(shard, streamOf([]), never)).rejects.toThrow();
    expect(to.opened.log.state(shard).damaged).toBe(false);
    expect(await visible({ ...to.opened, who })).toEqual(before);
    await close(to);
  });

  it("refuses pieces that are out of order, of another shard, or harmed on their way", async () => {
    const from = await open();
    const who = await addUser(from, shard, 1);
    await deliverTo(from, [who], message("one"));
    const pieces = await piecesOf(from);
    const begin = pieces[0];
    const bodies = pieces.find(({ kind }) => kind === "bodies");
    if (begin?.kind !== "begin" || bodies?.kind !== "bodies") throw new Error("no such pieces");
    const bytes = Buffer.from(bodies.bytes);
    bytes[5] = (bytes[5] ?? 0) ^ 1;
    const key = Buffer.from([0x43, 0, 9, 1]);
    const row = Buffer.concat([Buffer.from([0, 0, 0, 4, 0, 0, 0, 0]), key]);
    const bad: readonly CopyPiece[][] = [
      pieces.slice(1),
      [{ ...begin, shard: other }],
      [begin, begin],
      [begin, { ...bodies, bytes }],
      [begin, { kind: "rows", bytes: row }],
      [begin, { kind: "blobBytes", bytes, last: true }],
      [begin, { kind: "end", rows: 1, bodies: 0 }],
    ];
    for (const [at, stream] of bad.entries()) {
      const to = await open();
      const taken = to.opened.copies.importShard(shard, streamOf(stream), never);
      await expect(taken, `case ${at}`).rejects.toThrow("INVALID");
      await close(to);
    }
    await close(from);
  });

  it("never mixes copies, whatever step a crash follows", async () => {
    const from = await open();
    const who = await addUser(from, shard, 1);
    for (let n = 0; n < 12; n++) await deliverTo(from, [who], message(`new ${n}`, "n".repeat(900)));
    await deliverLarge(from, who, "blob-new");
    const expected = await visible({ ...from.opened, who });
    const pieces = await piecesOf(from);
    const point = from.opened.log.state(shard);
    let crashes = 0;
    let whole = 0;
    for (let failAt = 1; ; failAt++) {
      const to = await open(new SimulatedDisk({ seed: failAt }));
      const old = await addUser(to, shard, 1);
      for (let n = 0; n < 5; n++) await deliverTo(to, [old], message(`old ${n}`));
      let steps = 0;
      to.disk.fault = (kind, path) => {
        if (kind === "read") return undefined;
        steps += 1;
        return steps >= failAt ? systemError("EIO", path) : undefined;
      };
      const taken = to.opened.copies.importShard(shard, streamOf(pieces), never);
      const done = await taken.then(
        () => true,
        () => false,
      );
      await to.opened.upkeep.stop();
      await to.opened.engine.rows.drained();
      to.disk.fault = undefined;
      to.disk.crash("random");
      const again = await open(to.disk, to.index);
      const state = again.opened.log.state(shard);
      if (done) expect(state.damaged).toBe(false);
      if (state.damaged) {
        crashes += 1;
      } else if (state.lastLsn === point.lastLsn) {
        whole += 1;
        expect(await visible({ ...again.opened, who })).toEqual(expected);
      } else {
        // Before anything was given up: the old copy, untouched.
        expect(await visible({ ...again.opened, who: old })).toMatchObject({ usedMessages: 5 });
      }
      await copy(from, again);
      expect(await visible({ ...again.opened, who })).toEqual(expected);
      await close(again);
      if (done) break;
    }
    expect(crashes).toBeGreaterThan(5);
    expect(whole).toBeGreaterThan(0);
    await close(from);
  }, 30_000);
});
