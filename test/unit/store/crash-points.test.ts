// F5, the spool's and the confirmation's points: the member that holds a spool dies at each of them;
// another one goes on from the entries. docs/crash-points.md has the table.

import { afterEach, describe, expect, it } from "vitest";
import { armCrashPoint } from "../../../src/lib/crash-point.ts";
import type { CrashPoint } from "../../../src/lib/crash-point.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import type { MailStore, Principal } from "../../../src/mail/mail-store.ts";
import { SpoolDrain } from "../../../src/store/spool-drain.ts";
import { logConfirmations } from "../../../src/store/spool.ts";
import { addAccount, delivery, makeStore, message, never, shard, TestClock } from "./harness.ts";
import type { Harness } from "./harness.ts";

afterEach(() => armCrashPoint(undefined, () => undefined));

class RunningClock extends TestClock {
  override after(delayMs: number, run: () => void): { cancel(): void } {
    return systemClock.after(Math.min(delayMs, 2), run);
  }
}

/** A member that has died does nothing more: its journal takes no entry and it answers nobody. */
function dieAt(point: CrashPoint, harness: Harness): () => boolean {
  let dead = false;
  armCrashPoint(point, () => {
    dead = true;
    harness.journal.serving = false;
    armCrashPoint(undefined, () => undefined);
  });
  return () => dead;
}

/** Another member with the same entries, from their bytes. */
async function successor({ journal }: Harness): Promise<Harness> {
  const entries = [...journal.entries];
  const next = makeStore({ journal, clock: new RunningClock() });
  for (const { payload: _, ...entry } of entries) next.engine.apply(entry);
  await next.engine.rows.drained();
  journal.serving = true;
  return next;
}

function drainOf(harness: Harness): SpoolDrain {
  const target: Pick<MailStore, "deliver" | "writeBlob"> = {
    deliver: (request, signal) => harness.store.deliver(request, signal),
    writeBlob: (to, id, chunks, signal) => harness.store.writeBlob(to, id, chunks, signal),
  };
  const news = { delivered: () => 0, failed: () => 0, delayed: () => 0 };
  const hostName = "mail.pabal.test";
  return new SpoolDrain({ engine: harness.engine, target, shards: () => [shard], hostName, news });
}

async function count(harness: Harness, who: Principal): Promise<number> {
  const open = await harness.store.openMailbox(who, { name: "INBOX", claimRecent: false });
  return open.info.messages;
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

const print = "e".repeat(32);

function request(who: Principal) {
  const { deliveryId, opId, source, ...plain } = delivery([who], message("spooled"));
  const recipient = { account: who.account, address: "u@pabal.test", fingerprint: print };
  const parts = [{ shard, opId, recipients: [recipient] }];
  const recipients = [{ account: who.account, fingerprint: print }];
  return {
    spool: { deliveryId, source, sender: "a@example.org", parts },
    retry: {
      ...plain,
      deliveryId,
      opId: opId.replace(/^./, "f") as typeof opId,
      source,
      recipients,
    },
  };
}

describe("a member that dies", () => {
  const points = [
    "spool.beforeAppend",
    "spool.afterCommit",
    "spool.beforeDeliver",
    "spool.afterDeliver",
    "spool.afterRemoval",
  ] as const;
  it.each(points)("at %s leaves one copy in the end, whoever repeats it", async (point) => {
    const first = makeStore({ clock: new RunningClock() });
    const who = await addAccount(first);
    const { spool, retry } = request(who);
    const isDead = dieAt(point, first);
    const drain = drainOf(first);
    drain.start();
    await first.store.spool(spool, never).catch(() => undefined);
    await until(isDead);
    await drain.stop();
    const next = await successor(first);
    const goesOn = drainOf(next);
    goesOn.start();
    await until(async () => {
      await next.engine.spoolUsage.count(shard);
      return next.engine.spoolUsage.of(shard)?.recipients === 0;
    });
    expect(await count(next, who)).toBe(point === "spool.beforeAppend" ? 0 : 1);
    // The client that had no answer sends it again.
    await next.store.deliver(retry, never);
    expect(await count(next, who)).toBe(1);
    await goesOn.stop();
  });

  it("before a confirmation is logged: the same mail again counts as a repetition", async () => {
    const first = makeStore();
    const who = await addAccount(first);
    const { retry } = request(who);
    await first.store.deliver(retry, never);
    const isDead = dieAt("confirm.beforeAppend", first);
    first.store.confirm(shard, [retry.opId]);
    logConfirmations(first.engine, 0);
    await until(isDead);
    const next = await successor(first);
    await next.store.deliver(request(who).retry, never);
    expect(await count(next, who)).toBe(1);
  });

  it("after a confirmation is logged: the same mail again is new", async () => {
    const first = makeStore();
    const who = await addAccount(first);
    const { retry } = request(who);
    await first.store.deliver(retry, never);
    const isDead = dieAt("confirm.afterCommit", first);
    first.store.confirm(shard, [retry.opId]);
    logConfirmations(first.engine, 0);
    await until(isDead);
    const next = await successor(first);
    await next.store.deliver(request(who).retry, never);
    expect(await count(next, who)).toBe(2);
  });
});
