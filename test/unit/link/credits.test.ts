// Flow control of streams: what a queue holds on to. Credits on the wire are in streams.test.ts.

import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { ItemQueue } from "../../../src/cluster/link/credits.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("a piece that was taken is not held while others wait", async () => {
  const queue = new ItemQueue<Uint8Array>(
    () => undefined,
    () => undefined,
  );
  for (let n = 0; n < 3; n++) queue.push(new Uint8Array(1000), 1000);
  const taken = await takenFrom(queue);
  await turn();
  collect();
  expect(taken.deref()).toBeUndefined();
  expect((await queue.next()).value).toHaveLength(1000);
});

async function takenFrom(queue: ItemQueue<Uint8Array>): Promise<WeakRef<Uint8Array>> {
  const { value = new Uint8Array(0) } = await queue.next();
  return new WeakRef(value);
}
