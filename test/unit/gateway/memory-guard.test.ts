// The memory guard: when it refuses, whom it lets go, and what each protocol then says.

import { afterEach, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { MemoryGuard, processMemoryGuard } from "../../../src/gateway/memory-guard.ts";
import { defaultPop3Limits } from "../../../src/gateway/pop3/limits.ts";
import { startPop3 } from "../../../src/gateway/pop3/listener.ts";
import type { GatewayServices, Listener } from "../../../src/gateway/services.ts";
import { defaultSmtpLimits } from "../../../src/gateway/smtp/limits.ts";
import { startSmtp } from "../../../src/gateway/smtp/start.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";

test("at 80 % new ones are refused and the oldest idle ones go, at most 64 a look", () => {
  const clock = new SimulatedClock();
  let usedShare = 0.8;
  const guard = new MemoryGuard({ clock, usedShare: () => usedShare });
  const gone: number[] = [];
  for (let at = 0; at < 100; at++) {
    guard.enter({
      evict: () => {
        if (at === 1) return false; // It works on something.
        gone.push(at);
        return true;
      },
    });
  }
  expect(guard.refuses()).toBe(false);
  usedShare = 0.81;
  expect(guard.refuses()).toBe(false); // Measured a moment ago.
  clock.advance(250);
  expect(guard.refuses()).toBe(true);
  expect(gone).toHaveLength(64);
  expect(gone.slice(0, 3)).toEqual([0, 2, 3]);
  expect(guard.refuses()).toBe(true);
  expect(gone).toHaveLength(64);
  clock.advance(250);
  expect(guard.refuses()).toBe(true);
  expect(gone).toHaveLength(99);
  usedShare = 0.5;
  clock.advance(250);
  expect(guard.refuses()).toBe(false);
});

test("who left is not let go", () => {
  const guard = new MemoryGuard({ clock: new SimulatedClock(), usedShare: () => 0.9 });
  const connection = {
    evict: (): boolean => {
      throw new Error("it has logged in");
    },
  };
  guard.enter(connection);
  guard.leave(connection);
  expect(guard.refuses()).toBe(true);
});

test("this process is within its limit, and beyond a tiny configured one", () => {
  expect(processMemoryGuard(systemClock).refuses()).toBe(false);
  expect(processMemoryGuard(systemClock, 1024).refuses()).toBe(true);
});

type Start = (services: GatewayServices) => Promise<Listener>;
const place = { address: "127.0.0.1", port: 0, implicitTls: false };
const protocols: readonly (readonly [string, Start, RegExp])[] = [
  ["imap", (services) => startImap({ services, ...place }), /^\* BYE \[UNAVAILABLE\] /],
  [
    "pop3",
    (services) => startPop3({ services, limits: defaultPop3Limits, ...place }),
    /^-ERR \[SYS\/TEMP\] /,
  ],
  [
    "smtp",
    (services) => startSmtp({ services, kind: "relay", limits: defaultSmtpLimits, ...place }),
    /^421 4\.3\.1 /,
  ],
];

let listener: Listener | undefined;
afterEach(async () => {
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

test.each(protocols)(
  "%s refuses new ones and ends idle ones without a login",
  async (_name, start, answer) => {
    const clock = new SimulatedClock();
    let usedShare = 0;
    const memory = new MemoryGuard({ clock, usedShare: () => usedShare });
    listener = await start({ ...fakeServices(), memory });
    const { port } = listener;
    const idle = await LineClient.connect({ port });
    await idle.readLine();
    usedShare = 0.9;
    clock.advance(1000);
    const late = await LineClient.connect({ port });
    try {
      expect(await late.readLine()).toMatch(answer);
      await late.readEnd();
      expect(await idle.readLine()).toMatch(answer);
      await idle.readEnd();
    } finally {
      late.close();
      idle.close();
    }
  },
);

test("who has logged in stays", async () => {
  const clock = new SimulatedClock();
  let usedShare = 0;
  const memory = new MemoryGuard({ clock, usedShare: () => usedShare });
  const services = fakeServices();
  services.store.addAccount("u1@pabal.test");
  listener = await startImap({ services: { ...services, memory }, ...place });
  const client = await LineClient.connect({ port: listener.port });
  await client.readLine();
  client.send("a LOGIN u1 secret\r\n");
  expect(await client.readLine()).toMatch(/^a OK/);
  usedShare = 0.9;
  clock.advance(1000);
  expect(memory.refuses()).toBe(true);
  client.send("b NOOP\r\n");
  expect(await client.readLine()).toBe("b OK NOOP completed");
  client.close();
});
