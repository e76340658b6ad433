// The client of a coordinator when an answer is lost while the coordinator's disk is slow.

import { pino } from "pino";
import { expect, test } from "vitest";
import { serveCoordinator } from "../../../src/cluster/coordinator/coordinator-service.ts";
import { EmbeddedCoordinator } from "../../../src/cluster/coordinator/embedded.ts";
import { RemoteCoordinator } from "../../../src/cluster/coordinator/remote.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { startRelay } from "../../support/relay.ts";
import { Members, server as coordinatorMember, until } from "../link/support.ts";

test("a change that was in the disk's hands when the link broke is found, not refused", async () => {
  const members = new Members();
  const diskClock = new SimulatedClock();
  const disk = new SimulatedDisk({ clock: diskClock });
  const coordinator = await EmbeddedCoordinator.open({
    disk,
    path: "coordinator.log",
    clock: systemClock,
    log: pino({ level: "silent" }),
    fatal: (error) => {
      throw error;
    },
  });
  const asked: string[] = [];
  const registry = new MethodRegistry();
  serveCoordinator(
    {
      onCall: (name, handle) =>
        registry.onCall(name, (request) => {
          asked.push(name);
          return handle(request);
        }),
      onStream: (name, handle) => registry.onStream(name, handle),
      onUpload: (name, handle) => registry.onUpload(name, handle),
      onSend: (name, handle) => registry.onSend(name, handle),
    },
    coordinator,
  );
  const listening = await members.server(registry);
  const relay = await startRelay(listening.port);
  const { links } = members.manager(relay.port);
  const remote = new RemoteCoordinator({ peer: links.peer(coordinatorMember), clock: systemClock });
  try {
    await remote.readBarrier();
    disk.delayMs = (kind) => (kind === "sync" ? 1000 : 0);
    const changing = remote.compareAndSet([{ key: "a", ifRevision: 0, value: "mine" }]);
    await until(() => diskClock.untilNextMs() !== undefined, "the sync has begun");
    relay.cut();
    await until(() => asked.includes("coordinator.read"), "the client asks what became of it");
    diskClock.advance(1000);
    disk.delayMs = undefined;
    expect(await changing).toEqual({ ok: true, revision: 1 });
    expect(asked.filter((name) => name === "coordinator.compareAndSet")).toHaveLength(1);
    expect(coordinator.revision).toBe(1);
  } finally {
    remote.close();
    await members.close();
    await relay.close();
    await coordinator.close();
  }
});
