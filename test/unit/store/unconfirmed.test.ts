// Deliveries whose clients may not have had their 2xx: what a repetition is answered with, on the
// primary, on its secondary, after restarts; how confirmations get into the log.

import { describe, expect, it } from "vitest";
import { ulidMaker } from "../../../src/lib/id-maker.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { deliveryId, mailboxId } from "../../../src/mail/ids.ts";
import type { DeliverOutcome, DeliverRequest, Principal } from "../../../src/mail/mail-store.ts";
import { decodePayload } from "../../../src/store/entry-codec.ts";
import { logConfirmations } from "../../../src/store/spool.ts";
import { addAccount, change, delivery, makeStore, message, never } from "./harness.ts";
import type { Harness } from "./harness.ts";

const print = (digit: string): string => digit.repeat(32);

function request(whos: readonly Principal[], ...prints: string[]): DeliverRequest {
  const plain = delivery(whos, message("the same"));
  const recipients = plain.recipients.map((recipient, at) => {
    const fingerprint = prints[at];
    return fingerprint === undefined ? recipient : { ...recipient, fingerprint };
  });
  return { ...plain, recipients };
}

function uidOf(outcome: DeliverOutcome | undefined): number {
  if (outcome?.ok !== true) throw new Error("not delivered");
  return outcome.uid;
}

async function send({ store }: Harness, ...args: Parameters<typeof request>): Promise<number> {
  const [outcome] = await store.deliver(request(...args), never);
  return uidOf(outcome);
}

/** Another engine that applies the same entries, from their bytes, as a secondary does. */
async function secondaryOf({ journal }: Harness): Promise<Harness> {
  const other = makeStore();
  for (const { payload: _, ...entry } of journal.entries) other.engine.apply(entry);
  other.journal.entries.push(...journal.entries);
  await other.engine.rows.drained();
  return other;
}

describe("an operation with several recipients of a shard", () => {
  it("is still confirmed for the others when one of them is done with", async () => {
    const harness = makeStore();
    const a = await addAccount(harness);
    const b = await addAccount(harness);
    const both = request([a, b], print("1"), print("2"));
    await harness.store.deliver(both, never);
    const { unconfirmed } = harness.engine;
    expect(unconfirmed.size).toBe(2);
    unconfirmed.confirmed([print("1")]);
    expect(unconfirmed.size).toBe(1);
    unconfirmed.confirm(a.shard, [both.opId]);
    expect(unconfirmed.take(a.shard)).toEqual([print("2")]);
  });
});

describe("a repeated delivery", () => {
  it("waits for the first, and is answered with it", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    harness.journal.held = true;
    const first = send(harness, [who], print("1"));
    const second = send(harness, [who], print("1"));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    const entries = harness.journal.entries.length;
    harness.journal.release();
    expect(await second).toBe(await first);
    expect(harness.journal.entries.length).toBe(entries);
  });

  it("knows as little as the first when this member lost its part", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    harness.journal.held = true;
    const first = send(harness, [who], print("2"));
    const second = send(harness, [who], print("2"));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    harness.engine.resetShard(who.shard);
    await expect(second).rejects.toMatchObject({ code: "REPLICA_UNREACHABLE" });
    harness.journal.losing = true;
    harness.journal.release();
    await expect(first).rejects.toMatchObject({ code: "REPLICA_UNREACHABLE" });
    harness.journal.losing = false;
    expect(await send(harness, [who], print("2"))).toBe(1);
  });

  it("is recognised by the secondary, too", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const uid = await send(harness, [who], print("3"));
    const other = await secondaryOf(harness);
    expect(await send(other, [who], print("3"))).toBe(uid);
  });

  it("is recognised after a restart, by its row or by the replayed entry", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const byRow = await send(harness, [who], print("4"));
    harness.engine.unconfirmed.save();
    const saved = harness.journal.entries.length;
    const byEntry = await send(harness, [who], print("5"));
    await harness.engine.rows.drained();
    const after = makeStore({ db: harness.db, journal: harness.journal });
    await after.engine.unconfirmed.load();
    for (const { payload: _, ...entry } of harness.journal.entries.slice(saved))
      after.engine.apply(entry);
    expect(await send(after, [who], print("4"))).toBe(byRow);
    expect(await send(after, [who], print("5"))).toBe(byEntry);
  });

  it("is new mail a day later, as the shard's entries count time", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const uid = await send(harness, [who], print("6"));
    harness.clock.now += 25 * 3600 * 1000;
    harness.engine.unconfirmed.save();
    // A clock that jumps is nothing: only entries are.
    expect(await send(harness, [who], print("6"))).toBe(uid);
    await send(harness, [who]);
    harness.engine.unconfirmed.save();
    expect(await send(harness, [who], print("6"))).toBeGreaterThan(uid + 1);
  });

  it("is new mail when the message was moved to another mailbox", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const uid = await send(harness, [who], print("7"));
    const move = { ...change(), mailbox: mailboxId(1), uids: [uid, uid], target: "Trash" };
    await harness.store.move(who, move, never);
    expect(await send(harness, [who], print("7"))).toBe(uid + 1);
  });
});

describe("a confirmation", () => {
  it("rides in the next delivery, to the secondary as well, and removes the row", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = request([who], print("8"));
    const uid = uidOf((await harness.store.deliver(first, never))[0]);
    harness.engine.unconfirmed.save();
    harness.store.confirm(who.shard, [first.opId]);
    await send(harness, [who]);
    const { kind, head } = harness.journal.entries[harness.journal.entries.length - 1] ?? {};
    const payload = decodePayload(kind ?? 0, head ?? new Uint8Array(0));
    expect(payload).toMatchObject({ deliver: { confirmed: [print("8")] } });
    const other = await secondaryOf(harness);
    await harness.engine.rows.drained();
    const after = makeStore({ db: harness.db, journal: harness.journal });
    await after.engine.unconfirmed.load();
    for (const each of [harness, other, after]) expect(each.engine.unconfirmed.size).toBe(0);
    expect(await send(other, [who], print("8"))).toBeGreaterThan(uid);
  });

  it("has an entry of its own when no delivery comes", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = request([who], print("9"));
    await harness.store.deliver(first, never);
    harness.store.confirm(who.shard, [first.opId]);
    logConfirmations(harness.engine, 60_000);
    expect(harness.engine.unconfirmed.size).toBe(1);
    logConfirmations(harness.engine, 0);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    expect(harness.engine.unconfirmed.size).toBe(0);
    expect((await secondaryOf(harness)).engine.unconfirmed.size).toBe(0);
  });

  it("counts at once: the same again is new mail before the log has it, and unconfirmed itself", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = request([who], print("d"));
    const uid = uidOf((await harness.store.deliver(first, never))[0]);
    harness.store.confirm(who.shard, [first.opId]);
    const again = await send(harness, [who], print("d"));
    expect(again).toBeGreaterThan(uid);
    await send(harness, [who]);
    for (const each of [harness, await secondaryOf(harness)]) {
      expect(await send(each, [who], print("d"))).toBe(again);
    }
  });

  it("of a retry is one of the first, for the retry's recipients alone", async () => {
    const harness = makeStore();
    const [a, b] = [await addAccount(harness), await addAccount(harness)];
    await harness.store.deliver(request([a, b], print("a"), print("b")), never);
    const retry = request([a], print("a"));
    await harness.store.deliver(retry, never);
    harness.store.confirm(a.shard, [retry.opId]);
    await send(harness, [a]);
    expect(await send(harness, [b], print("b"))).toBe(1);
    expect(await send(harness, [a], print("a"))).toBe(3);
  });

  it("that comes before its delivery (it waited in a spool) counts", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const late = request([who], print("c"));
    harness.store.confirm(who.shard, [late.opId]);
    await harness.store.deliver(late, never);
    await send(harness, [who]);
    for (const each of [harness, await secondaryOf(harness)]) {
      expect(each.engine.unconfirmed.size).toBe(0);
      expect(await send(each, [who], print("c"))).toBe(3);
    }
  });
});

describe("a first try that comes behind its repetition, which is confirmed", () => {
  /** As a gateway makes it whose client began to send so long before now, by this store's clock. */
  function begun(harness: Harness, who: Principal, agoMs: number): DeliverRequest {
    const nowMs = harness.engine.clock.nowMs() - agoMs;
    const ulid = ulidMaker({ ...harness.engine.clock, nowMs: () => nowMs }, systemRandom);
    return { ...request([who], print("e")), deliveryId: deliveryId(ulid()) };
  }

  it("is answered with it, on the primary and on its secondary", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = begun(harness, who, 3000);
    const repetition = begun(harness, who, 1000);
    const uid = uidOf((await harness.store.deliver(repetition, never))[0]);
    harness.store.confirm(who.shard, [repetition.opId]);
    const late = { ...first, accepted: true };
    expect(uidOf((await harness.store.deliver(late, never))[0])).toBe(uid);
    await send(harness, [who]);
    const again = { ...late, ...change() };
    for (const each of [harness, await secondaryOf(harness)])
      expect(uidOf((await each.store.deliver(again, never))[0])).toBe(uid);
  });

  it("is new mail if it began after that was stored, or if that is gone", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const repetition = begun(harness, who, 1000);
    const uid = uidOf((await harness.store.deliver(repetition, never))[0]);
    harness.store.confirm(who.shard, [repetition.opId]);
    const after = begun(harness, who, -1);
    expect(uidOf((await harness.store.deliver(after, never))[0])).toBe(uid + 1);
    const other = makeStore();
    const owner = await addAccount(other);
    const gone = begun(other, owner, 1000);
    await other.store.deliver(gone, never);
    other.store.confirm(owner.shard, [gone.opId]);
    const which = { mailbox: mailboxId(1), uids: [1, 1], force: true };
    await other.store.expunge(owner, { ...change(), ...which }, never);
    const first = begun(other, owner, 3000);
    expect(uidOf((await other.store.deliver(first, never))[0])).toBe(2);
  });

  it("is answered with it, too, if both waited in spools and the repetition was delivered first", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = begun(harness, who, 3000);
    const repetition = begun(harness, who, 1000);
    harness.store.confirm(who.shard, [repetition.opId]);
    const uid = uidOf((await harness.store.deliver(repetition, never))[0]);
    expect(uidOf((await harness.store.deliver(first, never))[0])).toBe(uid);
  });
});

describe("an operation that comes behind its own retry", () => {
  it("is stored once", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const first = request([who]);
    await harness.store.deliver({ ...first, retry: true }, never);
    const [late] = await harness.store.deliver(first, never);
    expect(uidOf(late)).toBe(1);
    expect(await send(harness, [who])).toBe(2);
  });
});
