// Two copies compared over a link, on real stores: what one has lost is put right from the other where it
// can be told which is wrong, and told where it can't; changes under way are no difference.

import fc from "fast-check";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { CopyCompare } from "../../../src/cluster/node/copy-compare.ts";
import {
  decodeSumsAnswer,
  decodeSumsRequest,
  decodeUnitsAnswer,
  decodeUnitsRequest,
} from "../../../src/cluster/node/copy-compare-wire.ts";
import { NodeRepairs } from "../../../src/cluster/node/copy-repair.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { mailboxId, memberId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import {
  accountKey,
  bodyTable,
  space,
  subscriptionKey,
  table,
} from "../../../src/store/keyspace.ts";
import { RepairGiver } from "../../../src/store/repair-source.ts";
import { beginRow, emptyRow, endRow, rowHeaderBytes } from "../../../src/store/row.ts";
import { change, message, shard } from "../store/harness.ts";
import { visible } from "../store/random-steps.ts";
import {
  addUser,
  close,
  copy,
  deliverLarge,
  deliverTo,
  follow,
  open,
} from "../store/two-stores.ts";
import type { Node } from "../store/two-stores.ts";
import { linksTo, MemoryPeer } from "./memory-links.ts";

const silent = pino({ level: "silent" });

/** n1 is the primary, `ours` the secondary that asks it. */
class Pair {
  readonly theirs: Node;
  readonly ours: Node;
  readonly who: Principal;
  readonly compare: CopyCompare;
  readonly told: number[] = [];
  readonly primary = new MemoryPeer();

  constructor(theirs: Node, ours: Node, who: Principal) {
    [this.theirs, this.ours, this.who] = [theirs, ours, who];
    const links = linksTo(this.primary);
    this.#compareOf(theirs, undefined).register(this.primary.registry);
    giverOf(theirs).register(this.primary.registry);
    ours.opened.repairs.source = new NodeRepairs({
      giver: new RepairGiver({ ...parts(ours), clock: systemClock }),
      links,
      members: () => [memberId("n1")],
    });
    this.compare = this.#compareOf(ours, "n1");
    ours.opened.scrubber.comparison = this.compare;
  }

  static async make(): Promise<Pair> {
    const [theirs, ours] = [await open(), await open()];
    const who = await addUser(theirs, shard, 1);
    await addUser(theirs, shard, 2);
    await deliverLarge(theirs, who, "blob-one");
    await copy(theirs, ours);
    for (let n = 0; n < 20; n++) await deliverTo(theirs, [who], message(`m${n}`, `${n}`));
    const flags = { mode: "add", flags: ["\\Seen", "kept"] } as const;
    const some = { mailbox: mailboxId(1), uids: [3, 9] };
    await theirs.opened.store.store(who, { ...change(), ...some, ...flags }, never);
    await follow(theirs, ours);
    return new Pair(theirs, ours, who);
  }

  #compareOf({ opened }: Node, primary: string | undefined): CopyCompare {
    return new CopyCompare({
      opened,
      links: linksTo(this.primary),
      clock: systemClock,
      logger: silent,
      primaryOf: () => (primary === undefined ? undefined : memberId(primary)),
      differ: (of) => this.told.push(of),
    });
  }

  pass(): Promise<void> {
    return this.ours.opened.scrubber.pass();
  }

  async alike(): Promise<void> {
    const { who } = this;
    expect(await visible({ ...this.ours.opened, who })).toEqual(
      await visible({ ...this.theirs.opened, who }),
    );
  }

  close(): Promise<void> {
    return close(this.theirs, this.ours);
  }
}

const never = new AbortController().signal;

function parts({ opened }: Node) {
  const { engine, log, blobs } = opened;
  return { rows: engine.rows, log, blobs };
}

function giverOf(node: Node): NodeRepairs {
  const giver = new RepairGiver({ ...parts(node), clock: systemClock });
  return new NodeRepairs({ giver, links: linksTo(new MemoryPeer()), members: () => [] });
}

/** Takes rows away behind the store's back, as a disk that lost them would. */
async function lose(node: Node, isLost: (key: Buffer) => boolean, most = 1): Promise<number> {
  await node.opened.engine.rows.drained();
  node.opened.engine.accounts.forgetIdle();
  await node.opened.engine.rows.drained();
  const keys: Buffer[] = [];
  for await (const key of node.index.keys()) if (isLost(key)) keys.push(key);
  for (const key of keys.slice(0, most)) await node.index.del(key);
  return Math.min(most, keys.length);
}

const isTable = (which: number) => (key: Buffer) => key[0] === space.account && key[9] === which;

describe("two copies", () => {
  it("that are equal differ in nothing", async () => {
    const pair = await Pair.make();
    await pair.pass();
    const { units, bodies, ...rest } = pair.compare.figures;
    expect([units, bodies]).toEqual([3, 21]);
    expect(rest).toEqual({ differing: 0, mended: 0, skipped: 0 });
    await pair.close();
  });

  it.each([
    ["messages", table.change, 2],
    ["blocks of messages", table.block, 1],
    ["counters", table.counters, 1],
    ["a quota", table.quota, 1],
    ["a mailbox", table.mailbox, 1],
    ["a registration", table.registration, 1],
  ])("of which ours lost %s are alike again", async (_, which, most) => {
    const pair = await Pair.make();
    if (which === table.block) await visible({ ...pair.ours.opened, who: pair.who });
    expect(await lose(pair.ours, isTable(which), most)).toBe(most);
    await pair.pass();
    const { differing, mended } = pair.compare.figures;
    expect([differing, mended, pair.told]).toEqual([1, 1, []]);
    await pair.alike();
    await pair.close();
  });

  it("of which ours lost a whole account are alike again", async () => {
    const pair = await Pair.make();
    const of = accountKey(pair.who.account, 0).subarray(0, 9);
    const lost = await lose(pair.ours, (key) => key.subarray(0, 9).equals(of), 1000);
    expect(lost).toBeGreaterThan(30);
    await pair.pass();
    expect(pair.compare.figures.mended).toBe(1);
    // Static rows come one by one: a part of them with each pass.
    await pair.pass();
    await pair.alike();
    expect(pair.told).toEqual([]);
    await pair.close();
  });

  it("of which ours lost rows that stand alone: these are fetched", async () => {
    const pair = await Pair.make();
    let lost = await lose(pair.ours, isTable(table.static), 3);
    const isBody = (which: number) => (key: Buffer) => key[0] === space.body && key[11] === which;
    lost += await lose(pair.ours, isBody(bodyTable.location), 2);
    lost += await lose(pair.ours, isBody(bodyTable.owner), 2);
    expect(lost).toBe(7);
    await pair.pass();
    expect(pair.ours.opened.repairs.figures).toMatchObject({ repaired: 7, lost: 0 });
    expect(pair.compare.figures.differing).toBe(0);
    await pair.alike();
    await pair.close();
  });

  it("of which the primary's is the bad one are told, and ours stays as it is", async () => {
    const pair = await Pair.make();
    const { who } = pair;
    const before = await visible({ ...pair.ours.opened, who });
    expect(await lose(pair.theirs, isTable(table.block))).toBe(1);
    await pair.pass();
    expect(pair.told).toEqual([shard]);
    expect(pair.compare.figures).toMatchObject({ differing: 1, mended: 0 });
    expect(await visible({ ...pair.ours.opened, who })).toEqual(before);
    await pair.close();
  });

  it("that both add up, and differ, are told", async () => {
    const pair = await Pair.make();
    const key = subscriptionKey(pair.who.account, "nowhere");
    await pair.ours.index.put(key, emptyRow(key));
    await pair.pass();
    expect(pair.told).toEqual([shard]);
    await pair.close();
  });

  it("of which one has another body under a name are told", async () => {
    const pair = await Pair.make();
    await pair.ours.opened.engine.rows.drained();
    const places: Buffer[] = [];
    for await (const key of pair.ours.index.keys())
      if (key[0] === space.body && key[11] === bodyTable.location) places.push(key);
    const [from, to] = [places[3], places[4]];
    if (from === undefined || to === undefined) throw new Error("no places");
    const row = (await pair.ours.index.get(from)) ?? from;
    beginRow().raw(row.subarray(rowHeaderBytes));
    await pair.ours.index.put(to, endRow(to));
    await pair.pass();
    expect(pair.told).toEqual([shard]);
    await pair.close();
  });

  it("of which one is changed all the time are not told as different", async () => {
    const pair = await Pair.make();
    const call = pair.primary.call.bind(pair.primary);
    let asked = 0;
    pair.primary.call = async (...args) => {
      asked++;
      // Ours lies behind when it is asked, and behind its answer again.
      await deliverTo(pair.theirs, [pair.who], message(`new ${asked}`));
      const reply = call(...args);
      await deliverTo(pair.theirs, [pair.who], message(`newer ${asked}`));
      const got = await reply;
      await follow(pair.theirs, pair.ours);
      return got;
    };
    await pair.pass();
    expect(asked).toBeGreaterThan(3);
    expect(pair.told).toEqual([]);
    expect(pair.compare.figures.differing).toBe(0);
    await pair.close();
  });

  it("of which one can't be asked are left for the next pass", async () => {
    const pair = await Pair.make();
    pair.primary.answersToLose = 1000;
    await pair.pass();
    expect(pair.compare.figures.skipped).toBeGreaterThan(0);
    expect(pair.told).toEqual([]);
    await pair.close();
  });
});

describe("what comes over the link", () => {
  it("is refused when it is malformed", () => {
    const decoders = [
      decodeUnitsRequest,
      decodeUnitsAnswer,
      decodeSumsRequest,
      (value: unknown) => decodeSumsAnswer(value, 2),
    ];
    fc.assert(
      fc.property(fc.anything({ maxDepth: 3 }), (value) => {
        for (const decode of decoders) {
          try {
            decode(value);
          } catch (error) {
            expect(isMailError(error, "INVALID")).toBe(true);
          }
        }
      }),
    );
  });
});
