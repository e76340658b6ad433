// Confirmations of gateways to primaries: at once while they are few, together with others when many.
// And managers' calls to a copy that does not answer: bounded.

import { expect, test } from "vitest";
import { ReplicaCalls } from "../../../src/cluster/node/replica-calls.ts";
import { SpoolRouter } from "../../../src/cluster/node/spool-router.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import type { Links, Peer } from "../../../src/cluster/link/rpc.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { epoch, memberId, opId, shardId, storeId } from "../../../src/mail/ids.ts";

const shard = shardId(0);
const config: ShardConfig = {
  shard,
  epoch: epoch(1),
  primary: { node: memberId("n1"), store: storeId("0".repeat(32)) },
  secondaries: [],
  minCopies: 1,
  nonce: "",
};
const op = (at: number) => opId(at.toString(16).padStart(32, "0"));

/** Its timers run when they are told to. */
function stoppedClock(): { clock: Clock; fire: () => void } {
  const due: (() => void)[] = [];
  const clock: Clock = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    after: (_ms, run) => {
      due.push(run);
      return { cancel: () => undefined };
    },
  };
  const fire = (): void => {
    for (const run of due.splice(0)) run();
  };
  return { clock, fire };
}

function router(clock: Clock) {
  const sent: unknown[] = [];
  const peer: Peer = {
    id: memberId("n1"),
    up: true,
    call: () => Promise.reject(new Error("not called")),
    stream: () => {
      throw new Error("not called");
    },
    upload: () => Promise.reject(new Error("not called")),
    send: (_method, head) => {
      sent.push(head);
    },
    onChange: () => () => undefined,
  };
  const links: Links = { peer: () => peer, loads: () => new Map() };
  const table = {
    get: () => config,
    all: () => [config],
    onChange: () => () => undefined,
    refresh: () => Promise.resolve(),
  };
  return { sent, router: new SpoolRouter({ table, links, clock }) };
}

test("a confirmation goes at once, those of one moment in one frame", async () => {
  const { clock } = stoppedClock();
  const { sent, router: spool } = router(clock);
  spool.confirm(shard, [op(1)]);
  spool.confirm(shard, [op(2)]);
  expect(sent).toEqual([]);
  await Promise.resolve();
  expect(sent).toEqual([[shard, [op(1), op(2)]]]);
  spool.close();
});

test("when there are many they wait for each other, and none is forgotten", async () => {
  const { clock, fire } = stoppedClock();
  const { sent, router: spool } = router(clock);
  for (let at = 0; at < 100; at += 1) {
    spool.confirm(shard, [op(at)]);
    await Promise.resolve();
  }
  expect(sent).toHaveLength(50);
  fire();
  expect(sent).toHaveLength(51);
  expect(sent.at(-1)).toEqual([shard, Array.from({ length: 50 }, (_, at) => op(50 + at))]);
  spool.confirm(shard, [op(100)]);
  await Promise.resolve();
  expect(sent).toHaveLength(52);
  spool.close();
});

test("a copy that never answers keeps no more than some calls waiting", async () => {
  const calls = new ReplicaCalls();
  const first = calls.seal();
  const grafts = [calls.graft()];
  for (let at = 0; at < 64; at += 1) calls.seal().catch(() => undefined);
  await expect(first).rejects.toThrow(/not answered in time/);
  calls.stop(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
  await expect(grafts[0]).rejects.toThrow(/stopping/);
});
