// Objects that are made for each delivery, or looked at for each, share one hidden class. V8 gives
// each `{ ...one, more }` a class of its own: that takes half a microsecond, and so does every place
// where a field of it is read. `{ more, ...one }` has no such price.

import { setFlagsFromString } from "node:v8";
import { runInThisContext } from "node:vm";
import { afterEach, expect, test, vi } from "vitest";
import { deliverMethod } from "../../src/cluster/node/methods-delivery.ts";
import { accountId, deliveryId, opId, shardId } from "../../src/mail/ids.ts";
import type { DeliverRequest } from "../../src/mail/mail-store.ts";
import { simpleIndex } from "../support/simple-index.ts";
import { closeWorlds, world } from "./node/routed-world.ts";
import { World } from "./replica/replica-world.ts";

afterEach(closeWorlds);

setFlagsFromString("--allow-natives-syntax");
const haveSameShape = runInThisContext("(a, b) => %HaveSameMap(a, b)") as (
  a: unknown,
  b: unknown,
) => boolean;
haveSameShape({}, {}); // Compiled now, while its syntax is allowed.
setFlagsFromString("--no-allow-natives-syntax");

/** The first few may differ: V8 learns from them which fields are integers. */
function lastTwo<T>(make: (number: number) => T): readonly [T, T] {
  for (let number = 0; number < 20; number++) make(number);
  return [make(20), make(21)];
}

const bytes = Buffer.from("Subject: a\r\n\r\nb\r\n");

function request(number: number): DeliverRequest {
  return {
    opId: opId(number.toString(16).padStart(32, "0")),
    retry: false,
    shard: shardId(1),
    deliveryId: deliveryId(`delivery${number}`),
    recipients: [{ account: accountId(2 ** 40 + 1) }],
    source: { kind: "bytes", bytes },
    index: simpleIndex(bytes),
  };
}

test("what tells shapes apart", () => {
  expect(haveSameShape({ a: 1, b: 2 }, { a: 3, b: 4 })).toBe(true);
  expect(haveSameShape({ a: 1, b: 2 }, { b: 1, a: 2 })).toBe(false);
});

test("deliveries that a node reads from its link", () => {
  const [one, other] = lastTwo((number) => {
    const confirmed = number % 2 === 0 ? { confirmed: [opId("a".repeat(32))] } : {};
    const wire = deliverMethod.encode({ ...request(number), ...confirmed });
    return deliverMethod.decode(wire.args, wire.body);
  });
  expect(haveSameShape(one, other)).toBe(true);
});

test("deliveries that a gateway sends, with confirmations and without", async () => {
  const { routed } = await world();
  const sent = vi.spyOn(deliverMethod, "encode");
  const send = async (number: number): Promise<DeliverRequest> => {
    if (number % 2 === 0) routed.confirm(shardId(1), [opId("a".repeat(32))]);
    await routed.deliver(request(number), new AbortController().signal);
    const last = sent.mock.lastCall?.[0];
    if (last === undefined) throw new Error("nothing was sent");
    return last;
  };
  for (let number = 0; number < 20; number++) await send(number);
  const [one, other] = [await send(20), await send(22)];
  expect(one.confirmed).toHaveLength(1);
  expect(haveSameShape(one, other)).toBe(true);
});

test("states of replicas and of their secondaries", () => {
  const [one, other] = lastTwo(() => {
    const replicas = new World(["n1", "n2"]);
    replicas.start();
    replicas.primary.propose("a");
    replicas.settle();
    return replicas.primary.state;
  });
  expect(one.role).toBe("primary");
  expect(haveSameShape(one, other)).toBe(true);
  expect(one.peers).toHaveLength(1);
  expect(haveSameShape(one.peers[0], other.peers[0])).toBe(true);
});
