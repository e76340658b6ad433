// IMAP sessions through two gateways of one cluster, each checked against its own model, while mail
// nodes are killed and come back: numbers stay right, no session is closed, all agree at the end.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startImap } from "../../src/gateway/imap/listener.ts";
import type { Listener } from "../../src/gateway/services.ts";
import { LineClient } from "../support/line-client.ts";
import { routedServices } from "../support/routed-services.ts";
import type { RoutedServices } from "../support/routed-services.ts";
import { runSessions } from "../unit/imap/model-run.ts";
import { addMessage, seedMessages } from "../unit/imap/support.ts";

/** `PABAL_MODEL_SECONDS=60` for a long run of the races. */
const raceMs = 1000 * Number(process.env["PABAL_MODEL_SECONDS"] ?? 5);

let routed: RoutedServices;
let listeners: readonly Listener[];
let services: RoutedServices["gateways"][number];

beforeEach(async () => {
  routed = await routedServices(2);
  const [first] = routed.gateways;
  if (first === undefined) throw new Error("no gateway");
  services = first;
  await seedMessages(services, routed.who);
  listeners = await Promise.all(
    routed.gateways.map((each) =>
      startImap({ services: each, address: "127.0.0.1", port: 0, implicitTls: false }),
    ),
  );
});
afterEach(async () => {
  await Promise.all(listeners.map((listener) => listener.close(AbortSignal.abort())));
  await routed.close();
});

const ports = (): readonly number[] => listeners.map(({ port }) => port);

describe("sessions through two gateways", () => {
  test.each([11, 12, 13])("keep their numbers, seed %i", async (seed) => {
    const run = runSessions(services, routed.who, ports(), seed, 60);
    await expect(run).resolves.toBeUndefined();
  });

  test("race each other for a while without a violation", {
    timeout: 60_000 + raceMs,
  }, async () => {
    const end = AbortSignal.timeout(raceMs);
    const run = runSessions(services, routed.who, ports(), 21, 10, () => aborted(end));
    await expect(run).resolves.toBeUndefined();
  });

  test.each(["primary", "secondary"] as const)(
    "stay open while the %s is killed",
    async (which) => {
      const { cluster } = routed;
      const restart = async (): Promise<void> => {
        for (let round = 0; round < 2; round++) {
          await addMessage(services, routed.who, "INBOX", "x: before\r\n");
          const name = which === "primary" ? cluster.primaryOf(0) : cluster.secondaryOf(0);
          await cluster.killNode(name);
          await cluster.startNode(name);
          // Answered once the shard is served again.
          await addMessage(services, routed.who, "INBOX", "x: behind\r\n");
        }
      };
      const run = runSessions(services, routed.who, ports(), 31, 30, restart);
      await expect(run).resolves.toBeUndefined();
    },
  );

  test("learn in IDLE what happens right behind SELECT, and from the other gateway", async () => {
    const [here = 0, there = 0] = ports();
    for (let round = 0; round < 20; round++) {
      const idler = await LineClient.connect({ port: here });
      const other = await LineClient.connect({ port: there });
      try {
        for (const client of [idler, other]) {
          client.send("a LOGIN u1 secret\r\nb SELECT INBOX\r\n");
          await untilLine(client, "b OK");
        }
        // Races the registration of the watch at the node.
        idler.send("c IDLE\r\n");
        other.send("c APPEND INBOX {6+}\r\nx: 1\r\n\r\n");
        expect(await untilLine(idler, "EXISTS")).toBe(`* ${4 + round} EXISTS`);
        await untilLine(other, "c OK");
      } finally {
        idler.close();
        other.close();
      }
    }
  });
});

async function untilLine(client: LineClient, part: string): Promise<string> {
  for (;;) {
    const line = await client.readLine();
    if (line.includes(part)) return line;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
