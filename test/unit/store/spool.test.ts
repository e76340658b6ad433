// Mail that waits for shards that are away: kept over restarts, delivered once, told of when it
// can't be.

import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { shardId, uid } from "../../../src/mail/ids.ts";
import type { DeliverRequest, MailStore, Principal } from "../../../src/mail/mail-store.ts";
import type { SpoolRequest } from "../../../src/mail/spool.ts";
import { deleteAccount, updateAccount } from "../../../src/store/accounts.ts";
import { SpoolDrain } from "../../../src/store/spool-drain.ts";
import { readMessage } from "../../../src/store/read-message.ts";
import {
  addAccount,
  change,
  delivery,
  makeStore,
  message,
  never,
  shard,
  TestClock,
} from "./harness.ts";
import type { Harness } from "./harness.ts";

/** A clock whose timers run, over the test's wall clock. */
class RunningClock extends TestClock {
  override after(delayMs: number, run: () => void): { cancel(): void } {
    return systemClock.after(Math.min(delayMs, 5), run);
  }
  override monotonicMs(): number {
    return performance.now() * 100;
  }
}

interface World extends Harness {
  readonly drain: SpoolDrain;
  readonly target: { away: boolean; readonly asked: DeliverRequest[] };
  readonly news: string[];
}

function start(options: Parameters<typeof makeStore>[0] = {}): World {
  const harness = makeStore({ clock: new RunningClock(), ...options });
  const target: World["target"] = { away: false, asked: [] };
  const news: string[] = [];
  const { store, engine } = harness;
  const wrapped: Pick<MailStore, "deliver" | "writeBlob"> = {
    deliver: async (request, signal) => {
      target.asked.push(request);
      if (target.away) throw new MailError({ code: "UNAVAILABLE", why: "a test" });
      return store.deliver(request, signal);
    },
    writeBlob: (...[to, id, chunks, signal]) => store.writeBlob(to, id, chunks, signal),
  };
  const drain = new SpoolDrain({
    engine,
    target: wrapped,
    shards: () => [shard],
    hostName: "mail.pabal.test",
    news: {
      delivered: ({ recipient }) => news.push(`delivered ${recipient.address}`),
      failed: ({ recipient }, { status }, told) =>
        news.push(`failed ${recipient.address} ${status} ${told ? "told" : "untold"}`),
      delayed: () => undefined,
    },
  });
  return { ...harness, drain, target, news };
}

function spoolRequest(whos: readonly Principal[], bytes: Uint8Array, more = {}): SpoolRequest {
  const { deliveryId, opId } = delivery(whos, bytes);
  const recipients = whos.map(({ account }, at) => ({ account, address: `u${at}@pabal.test` }));
  const source = { kind: "bytes" as const, bytes };
  const parts = [{ shard, opId, recipients }];
  return { deliveryId, source, sender: "a@example.org", parts, ...more };
}

async function inbox(world: Harness, who: Principal): Promise<readonly string[]> {
  const open = await world.store.openMailbox(who, { name: "INBOX", claimRecent: false });
  const texts: string[] = [];
  for (const one of open.uids) {
    let text = "";
    const request = { mailbox: open.info.id, uid: uid(one), offset: 0 };
    for await (const piece of readMessage(world.engine, who, request, never))
      text += Buffer.from(piece).toString();
    texts.push(text);
  }
  return texts;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("what was waited for did not come");
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

const isEmpty = (world: World) => () => world.engine.spoolUsage.of(shard)?.recipients === 0;

describe("spooled mail", () => {
  it("waits until its shard answers, then is delivered under its first ids and forgotten", async () => {
    const world = start();
    const who = await addAccount(world);
    world.target.away = true;
    const request = spoolRequest([who], message("late"));
    await world.store.spool(request, never);
    world.drain.start();
    await until(() => world.target.asked.length >= 2);
    expect(await world.engine.spoolUsage.count(shard)).toMatchObject({ recipients: 1 });
    world.target.away = false;
    world.drain.wake();
    await until(isEmpty(world));
    expect(await inbox(world, who)).toEqual([Buffer.from(message("late")).toString()]);
    const [part] = request.parts;
    for (const { opId, deliveryId, retry, accepted } of world.target.asked)
      expect([opId, deliveryId, retry, accepted]).toEqual([
        part?.opId,
        request.deliveryId,
        true,
        true,
      ]);
    await world.drain.stop();
  });

  it("survives a restart, in rows or in entries that are replayed", async () => {
    const before = start();
    const who = await addAccount(before);
    await before.store.spool(spoolRequest([who], message("one")), never);
    await before.engine.rows.drained();
    const { db, journal } = before;
    const known = journal.entries.length;
    await before.store.spool(spoolRequest([who], message("two")), never);
    const after = start({ db, journal });
    for (const { payload: _, ...entry } of journal.entries.slice(known)) after.engine.apply(entry);
    after.drain.start();
    await until(async () => (await inbox(after, who)).length === 2);
    await until(isEmpty(after));
    await after.drain.stop();
  });

  it("is delivered once, also when what forgets it gets lost", async () => {
    const world = start();
    const who = await addAccount(world);
    await world.store.spool(spoolRequest([who], message("once")), never);
    const deliver = world.journal.propose.bind(world.journal);
    let lost = 0;
    world.journal.propose = (draft) => {
      if (draft.kind === 5 && lost++ < 2)
        throw new MailError({ code: "UNAVAILABLE", why: "a test" });
      return deliver(draft);
    };
    world.drain.start();
    await until(() => lost > 2);
    await until(isEmpty(world));
    expect(await inbox(world, who)).toHaveLength(1);
    await world.drain.stop();
  });

  it("for a deleted account goes back to a sender of ours", async () => {
    const world = start();
    const [gone, sender, other] = [
      await addAccount(world),
      await addAccount(world),
      await addAccount(world),
    ];
    await deleteAccount(world.engine, gone, change(), never);
    const bounceTo = { account: sender.account, shard };
    const more = { sender: "me@pabal.test", bounceTo };
    await world.store.spool(spoolRequest([gone, other], message("back"), more), never);
    world.drain.start();
    await until(isEmpty(world));
    expect(world.news).toEqual(["failed u0@pabal.test 5.1.1 told", "delivered u1@pabal.test"]);
    const [bounce = "", ...others] = await inbox(world, sender);
    expect(others).toEqual([]);
    expect(bounce).toMatch(/^Return-Path: <>\r\n/);
    expect(bounce).toContain("Final-Recipient: rfc822; u0@pabal.test\r\n");
    expect(bounce).toContain("Status: 5.1.1\r\n");
    expect(bounce).toContain("Subject: back\r\n");
    expect(await inbox(world, other)).toHaveLength(1);
    await world.drain.stop();
  });

  it("whose sender is elsewhere is counted when it fails", async () => {
    const world = start();
    const gone = await addAccount(world);
    await updateAccount(world.engine, gone, change(), { state: "disabled" }, never);
    await world.store.spool(spoolRequest([gone], message("lost")), never);
    world.drain.start();
    await until(isEmpty(world));
    expect(world.news).toEqual(["failed u0@pabal.test 5.2.1 untold"]);
    await world.drain.stop();
  });

  it("is given back after five days", async () => {
    const world = start();
    const who = await addAccount(world);
    world.target.away = true;
    const away = spoolRequest([who], message("old"));
    const parts = away.parts.map((part) => ({ ...part, shard: shardId(9) }));
    await world.store.spool({ ...away, shard, parts }, never);
    world.clock.now += 5 * 86_400_000 + 1;
    world.drain.start();
    await until(isEmpty(world));
    expect(world.news).toEqual(["failed u0@pabal.test 5.4.7 untold"]);
    await world.drain.stop();
  });

  it("of one shard does not wait for another's", async () => {
    const world = start();
    const who = await addAccount(world);
    const stuck = spoolRequest([who], message("stuck"));
    const parts = stuck.parts.map((part) => ({ ...part, shard: shardId(9) }));
    await world.store.spool({ ...stuck, shard, parts }, never);
    await world.store.spool(spoolRequest([who], message("goes")), never);
    world.drain.start();
    await until(async () => (await inbox(world, who)).length === 1);
    await until(() => world.engine.spoolUsage.of(shard)?.recipients === 1);
    await world.drain.stop();
  });

  it("has a limit", async () => {
    const world = start({ limits: { spoolRecipientsMax: 2, spoolBytesMax: 1000 } });
    const who = await addAccount(world);
    await world.store.spool(spoolRequest([who], message("1")), never);
    const large = spoolRequest([who], message("2", "x".repeat(1000)));
    await expect(world.store.spool(large, never)).rejects.toMatchObject({ code: "BUSY" });
    await world.store.spool(spoolRequest([who], message("3")), never);
    const third = world.store.spool(spoolRequest([who], message("4")), never);
    await expect(third).rejects.toMatchObject({ code: "BUSY" });
  });

  it("as a blob is streamed to its shard", async () => {
    const world = start();
    const who = await addAccount(world);
    const bytes = message("large", "y".repeat(400_000));
    world.journal.blobs.set("d-9", bytes);
    const blob = { shard, id: "d-9", sizeBytes: bytes.length, sha256: "" };
    const request = { ...spoolRequest([who], bytes), source: { kind: "blob" as const, blob } };
    await world.store.spool(request, never);
    world.drain.start();
    await until(isEmpty(world));
    expect(await inbox(world, who)).toEqual([Buffer.from(bytes).toString()]);
    await world.drain.stop();
  });
});
