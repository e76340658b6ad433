// What a MailStore promises of deliveries that are repeated, confirmed, or handed to the spool.

import { describe, expect, test } from "vitest";
import { deliveryId, opId } from "../../src/mail/ids.ts";
import type { DeliveryId } from "../../src/mail/ids.ts";
import type { DeliverOutcome, MailStore, Principal } from "../../src/mail/mail-store.ts";
import type { SpoolRequest } from "../../src/mail/spool.ts";
import type { Fixture } from "./mail-store.ts";
import {
  change,
  deliverRequest,
  expunge,
  message,
  never,
  open,
  setFlags,
} from "./mail-store-kit.ts";

const fingerprint = (digit: string): string => digit.repeat(32);

/** One delivery to each of `whos`, all with the same text. */
async function send(
  store: MailStore,
  whos: readonly Principal[],
  prints: readonly string[],
  id?: DeliveryId,
): Promise<{ readonly opId: string; readonly outcomes: readonly DeliverOutcome[] }> {
  const plain = deliverRequest(whos, message("the same"));
  const request = id === undefined ? plain : { ...plain, deliveryId: id };
  const recipients = request.recipients.map((recipient, at) => ({
    ...recipient,
    fingerprint: prints[at] ?? fingerprint("0"),
  }));
  return { opId: request.opId, outcomes: await store.deliver({ ...request, recipients }, never) };
}

/** Resolves when the condition holds. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("what was waited for did not come");
    // The store may answer without a turn of the loop.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

async function count(store: MailStore, who: Principal): Promise<number> {
  return (await open(store, who)).info.messages;
}

export function spoolTests(use: Fixture): void {
  describe("a delivery whose client may not have heard of it", () => {
    test("answers the same again with the message that is there", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const first = await send(store, [who], [fingerprint("1")]);
      const again = await send(store, [who], [fingerprint("1")]);
      expect(again.outcomes).toEqual(first.outcomes);
      expect(await count(store, who)).toBe(1);
    });

    test("answers it also while the first is under way", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const tries = Array.from({ length: 8 }, () => send(store, [who], [fingerprint("2")]));
      const uids = (await Promise.all(tries)).map(({ outcomes: [one] }) => one?.ok && one.uid);
      expect(new Set(uids).size).toBe(1);
      expect(await count(store, who)).toBe(1);
    });

    test("stores it for recipients who don't have it yet", async () => {
      const { store, addAccount } = use();
      const [one, two] = [await addAccount(), await addAccount()];
      const first = await send(store, [one], [fingerprint("3")]);
      const again = await send(store, [two, one], [fingerprint("4"), fingerprint("3")]);
      expect(again.outcomes[1]).toEqual(first.outcomes[0]);
      expect(again.outcomes[0]).toMatchObject({ ok: true });
      expect([await count(store, one), await count(store, two)]).toEqual([1, 1]);
    });

    test("is another account's affair only by chance: both are stored", async () => {
      const { store, addAccount } = use();
      const [one, two] = [await addAccount(), await addAccount()];
      await send(store, [one], [fingerprint("5")]);
      await send(store, [two], [fingerprint("5")]);
      expect([await count(store, one), await count(store, two)]).toEqual([1, 1]);
    });

    test("suppresses nothing once it is confirmed", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const first = await send(store, [who], [fingerprint("6")]);
      store.confirm(who.shard, [opId(first.opId)]);
      await send(store, [who], [fingerprint("6")]);
      expect(await count(store, who)).toBe(2);
    });

    test("once confirmed, answers what had begun before it was stored", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const first = await send(store, [who], [fingerprint("9")]);
      store.confirm(who.shard, [opId(first.opId)]);
      // A ULID of 1970: the repetition has overtaken this one.
      const late = await send(store, [who], [fingerprint("9")], deliveryId("0".repeat(26)));
      expect(late.outcomes).toEqual(first.outcomes);
      expect(await count(store, who)).toBe(1);
    });

    test("suppresses nothing once its message is expunged", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await send(store, [who], [fingerprint("7")]);
      const { info } = await open(store, who);
      await setFlags(store, who, info.id, [1, 1], "add", ["\\Deleted"]);
      await expunge(store, who, info.id);
      await send(store, [who], [fingerprint("7")]);
      expect(await count(store, who)).toBe(1);
      expect((await open(store, who)).info.uidNext).toBe(3);
    });
  });

  describe("spooled mail", () => {
    const request = (whos: readonly Principal[], text: string): SpoolRequest => {
      const { deliveryId, source, opId: op } = deliverRequest(whos, message(text));
      const recipients = whos.map(({ account }) => ({ account, address: "u@pabal.test" }));
      const [first] = whos;
      if (first === undefined) throw new Error("no recipient");
      const parts = [{ shard: first.shard, opId: op, recipients }];
      return { deliveryId, source, sender: "a@example.org", parts };
    };

    test("is delivered, whatever the quota says by then", async () => {
      const { store, addAccount } = use();
      const [one, full] = [await addAccount(), await addAccount({ quotaMessages: 1 })];
      await send(store, [full], [fingerprint("8")]);
      await store.spool(request([one, full], "spooled"), never);
      await eventually(async () => (await count(store, one)) === 1);
      await eventually(async () => (await count(store, full)) === 2);
    });

    test("that was delivered under the same ids before is not delivered again", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const delivered = deliverRequest([who], message("first"));
      await store.deliver(delivered, never);
      const { deliveryId, source } = delivered;
      const recipients = [{ account: who.account, address: "u@pabal.test" }];
      const parts = [{ shard: who.shard, opId: delivered.opId, recipients }];
      await store.spool({ deliveryId, source, sender: "", parts }, never);
      // What was spooled behind it shows that it has had its turn.
      const other = await addAccount();
      await store.spool(request([other], "second"), never);
      await eventually(async () => (await count(store, other)) === 1);
      expect(await count(store, who)).toBe(1);
    });

    test("as a blob arrives whole", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const text = message("large", "x".repeat(300_000));
      async function* chunks(): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < text.length; at += 100_000) yield text.subarray(at, at + 100_000);
      }
      const id = change().opId.slice(0, 24);
      const blob = await store.writeBlob(who.shard, id, chunks(), never);
      const about = { ...request([who], "large"), source: { kind: "blob", blob } as const };
      await store.spool(about, never);
      await eventually(async () => (await count(store, who)) === 1);
      expect((await open(store, who)).info.sizeBytes).toBe(text.length);
    });
  });
}
