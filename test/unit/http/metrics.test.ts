// Metrics as Prometheus reads them: right numbers, right names, read once per scrape.

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { Registry } from "prom-client";
import { describe, expect, test } from "vitest";
import {
  countedServices,
  frontEndCounters,
  ProtocolCounters,
} from "../../../src/gateway/front-end-counters.ts";
import { registerFamilies } from "../../../src/gateway/http/metric-families.ts";
import {
  registerDirectoryMetrics,
  registerFrontEndMetrics,
  registerLinkMetrics,
  registerMemberMetrics,
  registerNodeMetrics,
} from "../../../src/gateway/http/metrics.ts";
import { fakeServices } from "../../support/fake-services.ts";

const link = {
  direction: "dialled" as const,
  up: 3,
  expected: 4,
  opened: 9,
  framesIn: 1,
  framesOut: 2,
  bytesIn: 3,
  bytesOut: 4,
  malformed: 0,
};

function everything(): Registry {
  const registry = new Registry();
  registerFrontEndMetrics(registry, frontEndCounters());
  registerLinkMetrics(registry, () => [link, { ...link, direction: "accepted" }]);
  registerNodeMetrics(registry, () => ({
    shardsPrimary: 16,
    shardsSecondary: 15,
    shardsServing: 14,
    committedEntries: 1000,
    commitGroups: 10,
    uncommittedBytes: 5,
    fsyncP99Seconds: 0.004,
    indexQueueBytes: 6,
    summaryCacheBytes: 7,
    alarms: new Map([["damaged", 1]]),
    accountsLoaded: 8,
  }));
  registerDirectoryMetrics(registry, () => ({
    shardsMissing: 1,
    shardsStale: 2,
    cacheHits: 3,
    cacheMisses: 4,
  }));
  registerMemberMetrics(registry, () => ({ version: "1.2.3", role: "gateway", ready: true }));
  return registry;
}

describe("metrics", () => {
  test("every family has HELP and TYPE, a pabal_ name and a unit that fits", async () => {
    const lines = (await everything().metrics()).split("\n");
    const names = lines
      .filter((line) => line.startsWith("# TYPE"))
      .map((line) => line.split(" ").slice(2));
    expect(names.length).toBeGreaterThan(30);
    for (const [name = "", kind] of names) {
      expect(name).toMatch(/^pabal_[a-z0-9_]+$/);
      expect(name).not.toMatch(/_(ms|millis|kb|mb|kib)(_|$)/);
      expect(name.endsWith("_total"), name).toBe(kind === "counter");
      expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^# HELP ${name} \\S`)));
    }
  });

  test("numbers are those that were given", async () => {
    const text = await everything().metrics();
    for (const line of [
      'pabal_links_up{direction="dialled"} 3',
      'pabal_links_expected{direction="accepted"} 4',
      'pabal_shards{role="serving"} 14',
      "pabal_fsync_p99_seconds 0.004",
      "pabal_entries_committed_total 1000",
      "pabal_directory_shards_stale 2",
      'pabal_info{version="1.2.3",role="gateway"} 1',
      "pabal_ready 1",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).not.toContain("pabal_verified_credentials 0"); // Not known: not said.
  });

  test("scrapes do not add up, and each reads once", async () => {
    const registry = new Registry();
    let reads = 0;
    const read = (): number => {
      reads++;
      return 7;
    };
    registerFamilies(registry, read, [
      { name: "a_total", help: "a", kind: "counter", read: (figure) => figure },
      { name: "b", help: "b", kind: "gauge", read: (figure) => figure },
    ]);
    await registry.metrics();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    const text = await registry.metrics();
    expect(text).toMatch(/^a_total 7$/m);
    expect(text).toMatch(/^b 7$/m);
    expect(reads).toBe(2);
  });
});

describe("front-end counters", () => {
  test("deliveries fall into cumulative buckets", async () => {
    const registry = new Registry();
    const counters = frontEndCounters();
    registerFrontEndMetrics(registry, counters);
    counters.smtp.message("250 2.0.0 Stored", 100, 0.5);
    counters.smtp.message("250 2.0.0 Stored", 100, 1);
    counters.smtp.message("451 4.3.2 Later", 100, 30_000);
    counters.smtp.message("554 5.6.0 No", 50, 90_000);
    const text = await registry.metrics();
    const bucket = (le: string): string =>
      `pabal_delivery_duration_seconds_bucket{protocol="smtp",le="${le}"}`;
    expect(text).toContain(`${bucket("0.001")} 2\n`);
    expect(text).toContain(`${bucket("10")} 2\n`);
    expect(text).toContain(`${bucket("30")} 3\n`);
    expect(text).toContain(`${bucket("+Inf")} 4\n`);
    expect(text).toContain('pabal_delivery_duration_seconds_count{protocol="smtp"} 4\n');
    expect(text).toContain('pabal_delivery_duration_seconds_sum{protocol="smtp"} 120.0015\n');
    expect(text).toContain('pabal_messages_total{protocol="smtp",answer="stored"} 2\n');
    expect(text).toContain('pabal_messages_total{protocol="smtp",answer="put-off"} 1\n');
    expect(text).toContain('pabal_messages_total{protocol="smtp",answer="refused"} 1\n');
    expect(text).toContain('pabal_message_bytes_total{protocol="smtp"} 350\n');
  });

  test("logins are counted by verdict and answered as before", async () => {
    const services = fakeServices();
    const counters = new ProtocolCounters();
    const counted = countedServices(services, counters);
    const signal = new AbortController().signal;
    expect((await counted.auth.verify("nobody", "x", "127.0.0.1", signal)).kind).toBe("refused");
    services.outage = true;
    expect((await counted.auth.verify("nobody", "x", "127.0.0.1", signal)).kind).toBe(
      "unavailable",
    );
    expect(counters.logins).toEqual({ ok: 0, refused: 1, disabled: 0, unavailable: 1 });
  });

  test("connections count while they are open, their bytes when they end", async () => {
    const counters = new ProtocolCounters();
    const server = createServer((socket: Socket) => {
      counters.watch(socket);
      socket.end("12345");
      socket.resume();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const client = connect(
      typeof address === "object" && address !== null ? address.port : 0,
      "127.0.0.1",
    );
    client.end("abc");
    client.resume();
    await once(client, "close");
    await expect.poll(() => counters.connectionsOpen).toBe(0);
    expect([counters.connectionsOpened, counters.bytesIn, counters.bytesOut]).toEqual([1, 3, 5]);
    server.close();
  });
});
