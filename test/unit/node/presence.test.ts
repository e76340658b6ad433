// Presence of a member that lost it and registered anew: it stays the same process for everybody, and
// the manager goes on counting it. What a coordinator's leases do is in test/conformance/coordinator.test.ts.

import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { presenceKey } from "../../../src/cluster/coordinator/coordinator.ts";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { decodePresence } from "../../../src/cluster/coordinator/lease.ts";
import { ClusterClient } from "../../../src/cluster/node/cluster-client.ts";
import { PresenceTable } from "../../../src/cluster/node/presence-table.ts";
import { decodeMember, memberKey } from "../../../src/cluster/node/shard-codec.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { eventually } from "../../support/coordinator/watching.ts";

const node = memberId("n1");
const logger = pino({ level: "silent" });
const { signal } = new AbortController();

let coordinator: EmbeddedCoordinator;
let replaced: number;
let client: ClusterClient;

beforeEach(async () => {
  replaced = 0;
  coordinator = await EmbeddedCoordinator.open({
    disk: new SimulatedDisk(),
    path: "coordinator.log",
    clock: systemClock,
    log: logger,
    fatal: (error) => {
      throw error;
    },
  });
  client = makeClient();
});

afterEach(async () => {
  await client.close();
  await coordinator.close();
});

function makeClient(): ClusterClient {
  const options = {
    clusterId: "c",
    member: node,
    failureDomain: "d",
    listen: { host: "127.0.0.1", port: 0 },
    security: { kind: "plaintext" },
    coordinator: { kind: "given", coordinator },
    clock: systemClock,
    random: systemRandom,
    logger,
    presenceMs: 300,
    onReplaced: () => {
      replaced += 1;
    },
  } as const;
  return new ClusterClient(options, "node");
}

/** Its lease is taken from it, as when the coordinator was away for longer than that lasts. */
async function losePresence(): Promise<void> {
  const other = await coordinator.register(node, 5000);
  await other.release();
}

async function presenceNow(): Promise<number | undefined> {
  return decodePresence((await coordinator.get(presenceKey(node)))?.value)?.incarnation;
}

async function recordNow() {
  const state = await coordinator.get(memberKey(node));
  return state === undefined ? undefined : decodeMember(state.value);
}

describe("a member that lost its presence", () => {
  test("is present again under its next registration, as the same start", async () => {
    await client.join(signal);
    const { incarnation } = client;
    await client.announce({}, signal);
    await losePresence();
    await eventually(async () => (await recordNow())?.presence !== undefined);
    const record = await recordNow();
    expect(record?.incarnation).toBe(incarnation);
    expect(record?.presence).toBe(await presenceNow());
    expect(client.incarnation).toBe(incarnation);
    expect(replaced).toBe(0);
    const table = await PresenceTable.open({ coordinator, clock: systemClock, logger });
    expect(record !== undefined && table.isPresent(record)).toBe(true);
    table.close();
  });

  test("before it had announced itself, too", async () => {
    await client.join(signal);
    const first = client.incarnation;
    await losePresence();
    await eventually(async () => (await presenceNow()) === first + 2);
    await client.announce({}, signal);
    expect(await recordNow()).toMatchObject({ incarnation: first, presence: first + 2 });
  });

  test("is not taken for a later start that has announced nothing yet", async () => {
    await client.join(signal);
    await client.announce({}, signal);
    const record = await recordNow();
    await client.close();
    const later = makeClient();
    await later.join(signal);
    const table = await PresenceTable.open({ coordinator, clock: systemClock, logger });
    expect(record !== undefined && table.isPresent(record)).toBe(false);
    table.close();
    await later.close();
  });
});
