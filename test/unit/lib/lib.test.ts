import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  background,
  backgroundFailures,
  onBackgroundFailure,
} from "../../../src/lib/background.ts";
import { BoundedQueue } from "../../../src/lib/bounded-queue.ts";
import { ByteWriter } from "../../../src/lib/byte-writer.ts";
import { crc32c } from "../../../src/lib/crc32c.ts";
import {
  asArray,
  asBoolean,
  asBytes,
  asFinite,
  asNumber,
  asOneOf,
  asOptional,
  asRecord,
  asString,
  DecodeError,
} from "../../../src/lib/decode.ts";
import { FolderInUse, lockFolder } from "../../../src/lib/folder-lock.ts";
import { opIdMaker, ulidMaker } from "../../../src/lib/id-maker.ts";
import { Mutex, RwLock } from "../../../src/lib/lock.ts";
import { Lru } from "../../../src/lib/lru.ts";
import { RecentMap } from "../../../src/lib/recent-map.ts";
import { SeededRandom, systemRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";

const never = new AbortController().signal;
const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

test("crc32c is Castagnoli's, and goes on from a part", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  expect(crc32c(Buffer.from("6789"), crc32c(Buffer.from("12345")))).toBe(0xe3069283);
});

describe("decoders", () => {
  test("refuse what has another shape, by name", () => {
    expect(() => asRecord([], "login")).toThrow(new DecodeError("login should be an object"));
    for (const bad of [null, 1, "x", new Uint8Array(1)]) expect(() => asRecord(bad, "x")).toThrow();
    for (const bad of [-1, 1.5, 2 ** 53, "1", Number.NaN]) {
      expect(() => asNumber(bad, "x")).toThrow(DecodeError);
    }
    expect(() => asFinite(Number.POSITIVE_INFINITY, "x")).toThrow(DecodeError);
    expect(() => asOneOf("c", "x", ["a", "b"])).toThrow("x should be one of a, b");
    expect(() => asArray({}, "x")).toThrow(DecodeError);
    expect(() => asString(1, "x")).toThrow(DecodeError);
    expect(() => asBoolean(0, "x")).toThrow(DecodeError);
    expect(() => asBytes([1], "x")).toThrow(DecodeError);
  });

  test("pass what fits", () => {
    expect(asOptional(undefined, "x", asString)).toBeUndefined();
    expect(asOptional("a", "x", asString)).toBe("a");
    expect(asOneOf("a", "x", ["a", "b"])).toBe("a");
    expect(asBytes(Buffer.from("x"), "x")).toHaveLength(1);
  });
});

describe("Lru", () => {
  test("evicts what was used longest ago, by bytes", () => {
    const evicted: string[] = [];
    const lru = new Lru<string, number>(10, (key) => evicted.push(key));
    for (const key of ["a", "b", "c"]) lru.set(key, 1, 3);
    lru.get("a");
    lru.set("d", 1, 4);
    expect(evicted).toEqual(["b"]);
    expect([...lru.keys()]).toEqual(["c", "a", "d"]);
    lru.set("huge", 1, 11);
    expect(lru.size).toBe(0);
    expect(lru.bytes).toBe(0);
  });

  test("does what a list with a budget does", () => {
    const random = new SeededRandom(7);
    const lru = new Lru<number, number>(40);
    let model: { readonly key: number; readonly bytes: number }[] = [];
    for (let step = 0; step < 5000; step++) {
      const key = random.below(20);
      const known = model.find((one) => one.key === key);
      const others = model.filter((one) => one !== known);
      const what = random.below(4);
      if (what === 0) {
        expect(lru.delete(key)).toBe(known !== undefined);
        model = others;
      } else if (what === 1) {
        expect(lru.peek(key)).toBe(known?.bytes);
      } else if (what === 2) {
        expect(lru.get(key)).toBe(known?.bytes);
        if (known !== undefined) model = [...others, known];
      } else {
        const bytes = 1 + random.below(8);
        lru.set(key, bytes, bytes);
        model = [...others, { key, bytes }];
        while (model.reduce((sum, one) => sum + one.bytes, 0) > 40) model.shift();
      }
      expect([...lru.keys()]).toEqual(model.map((one) => one.key));
    }
  });
});

describe("RecentMap", () => {
  test("remembers the last ones that were set, not all", () => {
    const map = new RecentMap<number, number>(10);
    for (let key = 0; key < 1000; key++) {
      map.set(key, key);
      for (let back = 0; back < 10 && back <= key; back++)
        expect(map.get(key - back)).toBe(key - back);
      if (key >= 20) expect(map.has(key - 20)).toBe(false);
    }
  });

  test("a key that is set again has its last value, and can be deleted", () => {
    const map = new RecentMap<string, number>(2);
    expect(map.empty).toBe(true);
    for (const key of ["a", "b", "c"]) map.set(key, 1);
    map.set("a", 2);
    expect(map.get("a")).toBe(2);
    expect(map.delete("a")).toBe(true);
    expect(map.has("a")).toBe(false);
    map.set("b", 2);
    map.deleteIf((value) => value === 2);
    expect(map.has("b")).toBe(false);
    expect(map.get("c")).toBe(1);
    map.deleteIf(() => true);
    expect(map.empty).toBe(true);
  });

  test("costs the same however many it has seen", () => {
    const costOf = (least: number): number => {
      const map = new RecentMap<string, number>(least);
      for (let key = 0; key < 2 * least; key++) map.set(`k${key}`, key);
      const begun = performance.now();
      for (let key = 0; key < 20_000; key++) map.set(`n${key}`, key);
      return performance.now() - begun;
    };
    costOf(100);
    const least = (size: number): number => Math.min(...[1, 2, 3, 4, 5].map(() => costOf(size)));
    expect(least(50_000)).toBeLessThan(Math.max(100, 20 * least(100)));
  });
});

describe("RwLock", () => {
  test("readers share, a writer is alone, order is kept", async () => {
    const lock = new RwLock();
    const order: string[] = [];
    const enter = async (kind: "read" | "write", name: string): Promise<void> => {
      await using _hold = await lock[kind](never);
      order.push(`+${name}`);
      await turn();
      order.push(`-${name}`);
    };
    await Promise.all([
      enter("read", "r1"),
      enter("read", "r2"),
      enter("write", "w1"),
      enter("read", "r3"),
      enter("write", "w2"),
    ]);
    const expected = ["+r1", "+r2", "-r1", "-r2", "+w1", "-w1", "+r3", "-r3", "+w2", "-w2"];
    expect(order).toEqual(expected);
    expect(lock.idle).toBe(true);
  });

  test("one that gives up waiting lets those behind it in", async () => {
    const lock = new RwLock();
    const first = await lock.read(never);
    const giveUp = new AbortController();
    const writer = lock.write(giveUp.signal);
    const reader = lock.read(never);
    giveUp.abort(new Error("too late"));
    await expect(writer).rejects.toThrow("too late");
    (await reader).release();
    first.release();
    first.release();
    expect(lock.idle).toBe(true);
    await expect(lock.read(giveUp.signal)).rejects.toThrow("too late");
  });

  test("a mutex never lets two in", async () => {
    const mutex = new Mutex();
    let inside = 0;
    const work = async (): Promise<void> => {
      await using _hold = await mutex.acquire(never);
      inside += 1;
      expect(inside).toBe(1);
      await turn();
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 10 }, work));
  });
});

describe("BoundedQueue", () => {
  test("refuses when full and when closed, and gives the rest in order", async () => {
    const queue = new BoundedQueue<number>(3);
    expect([1, 2, 3, 4].map((item) => queue.push(item))).toEqual([true, true, true, false]);
    expect(queue.shift()).toBe(1);
    expect(queue.push(5)).toBe(true);
    queue.close();
    expect(queue.push(6)).toBe(false);
    const taken: number[] = [];
    for await (const item of queue.items(never)) taken.push(item);
    expect(taken).toEqual([2, 3, 5]);
  });

  test("a consumer waits, and stops when told", async () => {
    const queue = new BoundedQueue<number>(10);
    const stop = new AbortController();
    const taken: number[] = [];
    const consumer = (async () => {
      for await (const item of queue.items(stop.signal)) taken.push(item);
    })();
    await turn();
    queue.push(1);
    await turn();
    expect(taken).toEqual([1]);
    stop.abort();
    await consumer;
  });
});

test("background hands a failure to the listener and counts it", async () => {
  const heard: string[] = [];
  const stop = onBackgroundFailure((name, error) => heard.push(`${name}: ${String(error)}`));
  background("sweep", Promise.reject(new Error("no")));
  await turn();
  stop();
  expect(heard).toEqual(["sweep: Error: no"]);
  expect(backgroundFailures().get("sweep")).toBe(1);
});

test("ByteWriter writes what strings would have", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.maxSafeNat(), fc.string({ unit: "grapheme" }), fc.uint8Array())),
      (pieces) => {
        const writer = new ByteWriter(4);
        const expected: Buffer[] = [];
        for (const piece of pieces) {
          if (typeof piece === "number") writer.number(piece).crlf();
          else if (typeof piece === "string")
            writer.utf8(piece).ascii("*".repeat(piece.length * 9));
          else writer.bytes(piece).byte(7);
          expected.push(
            typeof piece === "number"
              ? Buffer.from(`${piece}\r\n`)
              : typeof piece === "string"
                ? Buffer.from(piece + "*".repeat(piece.length * 9))
                : Buffer.concat([piece, Buffer.of(7)]),
          );
        }
        expect(Buffer.from(writer.view())).toEqual(Buffer.concat(expected));
        expect(writer.take().byteLength).toBe(Buffer.concat(expected).byteLength);
        expect(writer.length).toBe(0);
      },
    ),
  );
});

describe("ids", () => {
  test("operation ids share ten bytes and count up", () => {
    const next = opIdMaker(new SeededRandom(1));
    const [first, second] = [next(), next()];
    expect(first).toMatch(/^[0-9a-f]{20}000000000001$/);
    expect(second.slice(0, 20)).toBe(first.slice(0, 20));
    expect(second.endsWith("2")).toBe(true);
  });

  test("ULIDs ascend, also within a millisecond and when the clock goes back", () => {
    const clock = new SimulatedClock();
    const next = ulidMaker(clock, new SeededRandom(1));
    const made = Array.from({ length: 100 }, () => next());
    clock.advance(5);
    made.push(next());
    clock.setWall(1_000);
    made.push(next());
    expect(made.toSorted()).toEqual(made);
    expect(new Set(made).size).toBe(made.length);
    expect(made.every((id) => /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id))).toBe(true);
  });
});

test("seeded randomness repeats, and differs between seeds", () => {
  const draw = (seed: number): string => new SeededRandom(seed).hex(16);
  expect(draw(1)).toBe(draw(1));
  expect(new Set(Array.from({ length: 100 }, (_, seed) => draw(seed))).size).toBe(100);
  const random = new SeededRandom(9);
  const rolls = Array.from({ length: 6_000 }, () => random.below(6));
  for (let face = 0; face < 6; face++) {
    expect(rolls.filter((roll) => roll === face).length).toBeGreaterThan(800);
  }
});

describe("SimulatedClock", () => {
  test("runs timers in order of time, then of making, also those made meanwhile", () => {
    const clock = new SimulatedClock(0);
    const ran: string[] = [];
    clock.after(20, () => ran.push(`b ${clock.monotonicMs()}`));
    clock.after(10, () => {
      ran.push(`a ${clock.monotonicMs()}`);
      clock.after(5, () => ran.push(`c ${clock.monotonicMs()}`));
    });
    clock.after(12, () => ran.push("cancelled")).cancel();
    expect(clock.untilNextMs()).toBe(10);
    clock.advance(30);
    expect(ran).toEqual(["a 10", "c 15", "b 20"]);
    expect(clock.nowMs()).toBe(30);
    clock.rate = 0.5;
    clock.advance(10);
    expect(clock.monotonicMs()).toBe(35);
  });
});

describe("lockFolder", () => {
  test("a second holder is told who has it; a dead one's lock is taken over", async () => {
    const folder = await mkdtemp(join(tmpdir(), "pabal-lock-"));
    try {
      const lock = await lockFolder(folder, systemRandom);
      await expect(lockFolder(folder, systemRandom)).rejects.toThrow(FolderInUse);
      await expect(lockFolder(folder, systemRandom)).rejects.toThrow(`process ${process.pid}`);
      await lock.release();
      for (const stale of [
        "cut o",
        JSON.stringify({ pid: process.pid, started: "1", boot: "another" }),
        JSON.stringify({ pid: 2 ** 30, started: "1", boot: "another" }),
      ]) {
        await writeFile(join(folder, "LOCK.pabal"), stale);
        await (await lockFolder(folder, systemRandom)).release();
      }
      const all = Array.from({ length: 8 }, () => lockFolder(folder, systemRandom));
      const results = await Promise.allSettled(all);
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
