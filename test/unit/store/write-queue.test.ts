// What the queue of rows shows while rows are on their way to LevelDB, against a plain map.

import fc from "fast-check";
import { MemoryLevel } from "memory-level";
import { expect, test } from "vitest";
import { WriteQueue } from "../../../src/store/write-queue.ts";

interface Step {
  readonly kind: "put" | "del" | "get" | "add" | "drain" | "snapshot";
  readonly key: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("put", "del", "get", "add", "add", "drain", "snapshot"),
  key: fc.nat(5),
});

async function opened(): Promise<WriteQueue> {
  const db = new MemoryLevel<Buffer, Buffer>({ keyEncoding: "buffer", valueEncoding: "buffer" });
  await db.open();
  const onFailure = (error: unknown): void => {
    throw error;
  };
  return new WriteQueue(db, { bytesMax: 1_000_000, onFailure });
}

function keyOf(number: number): Buffer {
  return Buffer.from(String(number).padStart(4, "0"));
}

async function everything(queue: WriteQueue): Promise<readonly (readonly [string, string])[]> {
  const found: [string, string][] = [];
  for await (const rows of queue.range(Buffer.from("0"), Buffer.from(":"))) {
    for (const [key, value] of rows) found.push([key.toString(), value.toString()]);
  }
  return found;
}

test("puts, deletions and added rows are seen at once and written in their order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const queue = await opened();
      const model = new Map<string, string>();
      const put = new Set<number>();
      const finished = new Set<number>();
      for (const [at, { kind, key }] of steps.entries()) {
        const name = keyOf(key).toString();
        if (kind === "drain") await queue.drained();
        else if (kind === "snapshot") await queue.snapshot(() => undefined);
        else if (kind === "get") {
          expect((await queue.get(keyOf(key)))?.toString()).toBe(model.get(name));
        } else if (kind === "del") {
          queue.del(keyOf(key));
          model.delete(name);
        } else {
          // What is added is not put both before and behind that.
          if (kind === "put" && finished.has(key)) continue;
          if (kind === "add" && put.has(key)) finished.add(key);
          if (kind === "put") put.add(key);
          queue[kind](keyOf(key), Buffer.from(`${kind} ${at}`));
          model.set(name, `${kind} ${at}`);
        }
      }
      const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
      expect(await everything(queue)).toEqual(sorted);
    }),
    { numRuns: 1000 },
  );
});

test("a snapshot has what was added before it and nothing of later", async () => {
  const queue = await opened();
  queue.add(keyOf(1), Buffer.from("one"));
  const taking = queue.snapshot(() => undefined);
  queue.add(keyOf(2), Buffer.from("two"));
  queue.put(keyOf(1), Buffer.from("one again"));
  const { rows } = await taking;
  const values = await queue.getManyAt(rows, [keyOf(1), keyOf(2)]);
  expect(values.map((value) => value?.toString())).toEqual(["one", undefined]);
  await rows.close();
  const newest = await queue.getMany([keyOf(1), keyOf(2)]);
  expect(newest.map((value) => value?.toString())).toEqual(["one again", "two"]);
});

test("rows that are read together are those of one moment", async () => {
  const queue = await opened();
  queue.put(keyOf(2), Buffer.from("old"));
  await queue.drained();
  queue.put(keyOf(1), Buffer.from("old"));
  queue.add(keyOf(3), Buffer.from("old"));
  const reading = queue.getMany([keyOf(1), keyOf(2), keyOf(3)]);
  queue.put(keyOf(1), Buffer.from("new"));
  queue.put(keyOf(2), Buffer.from("new"));
  queue.del(keyOf(3));
  expect((await reading).map((value) => value?.toString())).toEqual(["old", "old", "old"]);
});
