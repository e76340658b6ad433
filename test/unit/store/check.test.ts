import { Buffer } from "node:buffer";
import { expect, it } from "vitest";
import { mailboxId } from "../../../src/mail/ids.ts";
import { checkStore } from "../../../src/store/check.ts";
import type { Finding } from "../../../src/store/check.ts";
import { addAccount, change, delivery, makeStore, message, never, shard } from "./harness.ts";
import type { Harness } from "./harness.ts";

async function findings(harness: Harness): Promise<Finding[]> {
  await harness.engine.rows.drained();
  const { engine } = makeStore({ db: harness.db, journal: harness.journal });
  const found: Finding[] = [];
  const options = { shards: [shard], damage: [], bodies: true };
  for await (const finding of checkStore(engine, options, never)) found.push(finding);
  return found;
}

async function filled(): Promise<Harness> {
  const harness = makeStore();
  const who = await addAccount(harness);
  for (let n = 0; n < 5; n++) await harness.store.deliver(delivery([who], message(`${n}`)), never);
  await harness.store.expunge(
    who,
    { ...change(), mailbox: mailboxId(1), uids: [1, 2], force: true },
    never,
  );
  await harness.store.copy(
    who,
    { ...change(), mailbox: mailboxId(1), uids: [3, 4], target: "Sent" },
    never,
  );
  await harness.engine.rows.drained();
  return harness;
}

it("finds nothing wrong with a sound store", async () => {
  expect(await findings(await filled())).toEqual([]);
});

it("finds each kind of damage", async () => {
  const first = (harness: Harness, is: (key: Buffer) => boolean): Promise<[Buffer, Buffer]> =>
    harness.db
      .iterator()
      .all()
      .then((rows) => rows.find(([key]) => is(key)) ?? [Buffer.alloc(0), Buffer.alloc(0)]);
  const flipped = await filled();
  const [key, value] = await first(flipped, (each) => each[0] === 0x41 && each[9] === 5);
  const bad = Buffer.from(value);
  bad[6] = (bad[6] ?? 0) ^ 4;
  await flipped.db.put(key, bad);
  expect(await findings(flipped)).toEqual([{ kind: "row", key: key.toString("hex") }]);

  const noPlace = await filled();
  // The place of UID 5: its entry is the fifth delivery, behind the account's.
  const [place] = await first(
    noPlace,
    (each) => each[0] === 0x42 && each[11] === 0 && each.readUInt32BE(5) === 6,
  );
  await noPlace.db.del(place);
  expect(await findings(noPlace)).toMatchObject([{ kind: "message", uid: 5, what: "place" }]);

  const noChange = await filled();
  const [change5] = await first(
    noChange,
    (each) => each[0] === 0x41 && each[9] === 11 && each.readUInt32BE(18) === 6,
  );
  await noChange.db.del(change5);
  expect((await findings(noChange)).map(({ kind }) => kind)).toEqual([
    "counters",
    "counters",
    "counters",
    "quota",
  ]);
});
