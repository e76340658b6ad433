// A disk that fills up: new mail is refused in time, what frees room goes on, the ballast gives the
// last writes their place and comes back.

import { afterEach, describe, expect, it } from "vitest";
import { ballastFile } from "../../../src/lib/ballast.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk, systemError } from "../../../src/lib/simulated-disk.ts";
import { makeAccountId, mailboxId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import { DiskRoom, makeRoomToStart } from "../../../src/store/disk-room.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { OpenedStore } from "../../../src/store/open-store.ts";
import { change, delivery, makeDatabase, message, never, shard } from "./harness.ts";

/** Small, as the simulated disk keeps what was written. */
const unit = 65_536;
const limits = {
  mailFreePerMille: 50,
  copyFreePerMille: 100,
  floorBytes: unit,
  ballastBytes: 2 * unit,
};

/** A file of somebody else's that takes room. */
async function fill(disk: SimulatedDisk, bytes: number): Promise<void> {
  const file = await disk.open("other", "write");
  await file.truncate(0);
  await file.writev([Buffer.alloc(bytes)], 0);
  await file.close();
}

/** Lets a simulated second pass until `reached` holds. */
async function pass(clock: SimulatedClock, reached: () => boolean): Promise<void> {
  clock.advance(1000);
  for (let turn = 0; turn < 1000 && !reached(); turn++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
  expect(reached()).toBe(true);
}

describe("how full a disk may be", () => {
  it("below a tenth there are no new copies, below a twentieth no mail", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 100 * unit });
    const room = await DiskRoom.open(disk, new SimulatedClock(), new SeededRandom(1), limits);
    const levels: string[] = [];
    for (const free of [11, 9, 6, 4]) {
      await fill(disk, (100 - free) * unit);
      await room.measure();
      levels.push(room.level);
    }
    expect(levels).toEqual(["ample", "noCopies", "noCopies", "noMail"]);
    expect(() => room.mustTakeMail(shard)).toThrow("DISK_FULL");
  });

  it("the floor counts on a large disk, an eighth on a small one", async () => {
    const clock = new SimulatedClock();
    const floor = { ...limits, mailFreePerMille: 0, floorBytes: 16 * unit };
    const large = new SimulatedDisk({ capacityBytes: 1000 * unit });
    await fill(large, 985 * unit);
    expect((await DiskRoom.open(large, clock, new SeededRandom(1), floor)).level).toBe("noMail");
    const small = new SimulatedDisk({ capacityBytes: 16 * unit });
    await fill(small, 13 * unit);
    expect((await DiskRoom.open(small, clock, new SeededRandom(1), floor)).level).toBe("noCopies");
  });

  it("another member without room is reason enough", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 100 * unit });
    const room = await DiskRoom.open(disk, new SimulatedClock(), new SeededRandom(1), limits);
    room.others = () => false;
    expect(() => room.mustTakeMail(shard)).toThrow("DISK_FULL");
  });
});

describe("ballast", () => {
  it("is made where there is room, given up once, and made again", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 100 * unit });
    const clock = new SimulatedClock();
    const room = await DiskRoom.open(disk, clock, new SeededRandom(1), limits);
    room.start();
    await pass(clock, () => room.figures.ballastBytes > 0);
    expect(disk.contents(ballastFile).length).toBe(2 * unit);
    expect(await room.giveWay()).toBe(true);
    expect(room.level).toBe("noMail");
    expect(await room.giveWay()).toBe(false);
    await pass(clock, () => room.figures.ballastBytes > 0);
    expect(room.level).toBe("ample");
    await room.stop();
  });

  it("does not itself fill a disk", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 100 * unit });
    const clock = new SimulatedClock();
    const room = await DiskRoom.open(disk, clock, new SeededRandom(1), limits);
    await fill(disk, 91 * unit);
    room.start();
    await pass(clock, () => room.level === "noCopies");
    expect(await disk.exists(ballastFile)).toBe(false);
    await room.stop();
  });

  it("goes before a start on a full disk, and stays on one with room", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 100 * unit });
    const clock = new SimulatedClock();
    const room = await DiskRoom.open(disk, clock, new SeededRandom(1), limits);
    room.start();
    await pass(clock, () => room.figures.ballastBytes > 0);
    await room.stop();
    expect(await makeRoomToStart(disk)).toBe(false);
    await fill(disk, 97 * unit + unit / 2);
    expect(await makeRoomToStart(disk)).toBe(true);
    expect((await disk.freeBytes()).free).toBeGreaterThan(2 * unit);
  });
});

describe("a store on a full disk", () => {
  const stores: OpenedStore[] = [];
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
  });

  async function openFull(disk: SimulatedDisk, clock: SimulatedClock) {
    const fatal: unknown[] = [];
    const opened = await openStore({
      disk,
      index: makeDatabase(),
      clock,
      random: new SeededRandom(5),
      shards: [shard],
      diskLimits: limits,
      onFatal: (error) => fatal.push(error),
    });
    stores.push(opened);
    const account = makeAccountId(shard, 1);
    const names = { name: "u@pabal.test", aliases: [], credentials: { hash: "" }, profile: {} };
    const quota = { quotaBytes: 0, quotaMessages: 0, uidValidityFloor: 0 };
    const request = { ...change(), shard, account, mailboxes: firstMailboxes };
    await createAccount(opened.engine, { ...request, ...names, ...quota }, never);
    const who: Principal = { account, shard, credVersion: 1 };
    return { opened, who, fatal };
  }

  it("refuses DELIVER, APPEND, COPY and blobs, and takes STORE, MOVE and EXPUNGE", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 64 * unit });
    const { opened, who } = await openFull(disk, new SimulatedClock());
    const { store, room } = opened;
    await store.deliver(delivery([who], message("one")), never);
    await fill(disk, 62 * unit);
    await room.measure();
    const bytes = message("two");
    await expect(store.deliver(delivery([who], bytes), never)).rejects.toThrow("DISK_FULL");
    const { index, source } = delivery([who], bytes);
    const appended = { ...change(), mailbox: "INBOX", messages: [{ index, source, flags: [] }] };
    await expect(store.append(who, appended, never)).rejects.toThrow("DISK_FULL");
    const mailbox = mailboxId(1);
    const uids = [1, 1];
    const copy = { mailbox, uids, target: "INBOX" };
    await expect(store.copy(who, { ...change(), ...copy }, never)).rejects.toThrow("DISK_FULL");
    const chunks = (async function* () {
      yield bytes;
    })();
    await expect(store.writeBlob(shard, "b", chunks, never)).rejects.toThrow("DISK_FULL");
    const flags = { mode: "add", flags: ["\\Deleted"], silent: true } as const;
    await store.store(who, { ...change(), mailbox, uids, ...flags }, never);
    await store.move(who, { ...change(), ...copy }, never);
    const all = [1, 2];
    expect((await store.expunge(who, { ...change(), mailbox, uids: all }, never)).expunged).toEqual(
      [2, 2],
    );
  });

  it("a write without any room takes the ballast's place and is acknowledged", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 64 * unit });
    const clock = new SimulatedClock();
    const { opened, who, fatal } = await openFull(disk, clock);
    await pass(clock, () => opened.room.figures.ballastBytes > 0);
    disk.capacityBytes -= (await disk.freeBytes()).free; // Somebody else took all of it.
    await opened.store.deliver(delivery([who], message("last")), never);
    expect(await disk.exists(ballastFile)).toBe(false);
    expect(fatal).toEqual([]);
    await expect(opened.store.deliver(delivery([who], message("x")), never)).rejects.toThrow(
      "DISK_FULL",
    );
  });

  it("a sync that fails for want of room is final all the same", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 64 * unit });
    const clock = new SimulatedClock();
    const { opened, who, fatal } = await openFull(disk, clock);
    await pass(clock, () => opened.room.figures.ballastBytes > 0);
    disk.fault = (kind, path) =>
      kind === "sync" && path.endsWith(".seg") ? systemError("ENOSPC", path) : undefined;
    const lost = opened.store.deliver(delivery([who], message("x")), never);
    await expect(lost).rejects.toThrow("DISK_FULL");
    expect(fatal).toHaveLength(1);
    expect(await disk.exists(ballastFile)).toBe(true);
    stores.length = 0; // It can't be closed in order any more.
  });
});
