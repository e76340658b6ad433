// Failover on real processes: a mail node dies, is stopped, is drained, comes back, and a new one
// joins; users go on on the sessions they have, and nothing is lost.

import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { parseDocument } from "yaml";
import { percentiles } from "../support/chaos-outage.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { fetchNumber, ImapClient } from "../support/imap-client.ts";
import { hashOf, ledgerMessage } from "../support/ledger.ts";
import { type ServedMember, until } from "../support/processes.ts";
import { compareReplicas } from "../support/replicas.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const cleanUp: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

async function start(options: Parameters<typeof DevCluster.start>[0]): Promise<DevCluster> {
  const cluster = await DevCluster.start({
    ...options,
    set: ["log.level=warn", ...(options?.set ?? [])],
  });
  cleanUp.push(() => cluster.destroy());
  return cluster;
}

function serve(cluster: DevCluster, id: string): ServedMember {
  const member = cluster.serve(id);
  cleanUp.push(() => member.stop().catch(() => undefined));
  return member;
}

/** One user with an SMTP and an IMAP connection that stay open. */
class User {
  readonly name: string;
  readonly #smtp: SmtpClient;
  readonly #imap: ImapClient;
  readonly sent = new Map<string, string>();

  private constructor(name: string, smtp: SmtpClient, imap: ImapClient) {
    this.name = name;
    this.#smtp = smtp;
    this.#imap = imap;
  }

  static async connect(cluster: DevCluster, name: string, gateway: string): Promise<User> {
    const { smtp, imap } = cluster.gateway(gateway);
    const { password } = cluster.ports;
    const session = await ImapClient.connect(imap, { user: name, password });
    await session.ok("SELECT INBOX");
    const user = new User(name, await SmtpClient.connect(smtp), session);
    cleanUp.push(() => user.close());
    return user;
  }

  /** Delivers one message and reads it back. @returns how long both took together, ms. */
  async roundTrip(id: string): Promise<number> {
    const startedMs = performance.now();
    const message = ledgerMessage(`${this.name}-${id}`, `${id} for ${this.name}`);
    const outcome = await this.#smtp.deliver({ to: [this.name], message });
    expect([this.name, outcome.kind, outcome]).toEqual([this.name, "accepted", outcome]);
    this.sent.set(`${this.name}-${id}`, hashOf(message));
    // After two seconds of waiting mail is taken into the spool, and is in the mailbox a little later.
    for (;;) {
      await this.#imap.ok("NOOP");
      const { untagged } = await this.#imap.ok(
        "UID FETCH *:* (BODY.PEEK[HEADER.FIELDS (X-Ledger)])",
      );
      const last = untagged.findLast(({ literals }) => literals.length > 0);
      const tookMs = performance.now() - startedMs;
      if (last?.literals[0]?.toString("latin1").includes(`${this.name}-${id}\r`) === true) {
        return tookMs;
      }
      if (tookMs > 30_000) throw new Error(`${this.name}: ${id} is not there`);
    }
  }

  /** All of the user's messages are there, once each, on the same session. */
  async check(): Promise<void> {
    await this.#imap.ok("NOOP");
    const { untagged } = await this.#imap.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Ledger)])");
    const found = untagged.flatMap((line) => {
      const id = /X-Ledger: (\S+)/i.exec(line.literals[0]?.toString("latin1") ?? "")?.[1];
      return id === undefined ? [] : [{ id, uid: fetchNumber(line, "UID") }];
    });
    expect(found.map(({ id }) => id)).toEqual([...this.sent.keys()]);
    expect(found.map(({ uid }) => uid)).toEqual(found.map((_, index) => index + 1));
  }

  async close(): Promise<void> {
    this.#smtp.close();
    this.#imap.close();
    await Promise.resolve();
  }
}

async function users(cluster: DevCluster): Promise<readonly User[]> {
  const { gateways } = cluster.ports;
  return Promise.all(
    cluster.ports.users.map((name, index) =>
      User.connect(cluster, name, gateways[index % gateways.length]?.id ?? "g1"),
    ),
  );
}

function everyone(all: readonly User[], id: string): Promise<readonly number[]> {
  return Promise.all(all.map((user) => user.roundTrip(id)));
}

/** Every shard is whole and `away` holds none of them. */
async function wholeWithout(cluster: DevCluster, away: string): Promise<void> {
  await until(`all shards whole without ${away}`, 120_000, async () => {
    const shards = await cluster.shards();
    return shards.every(({ state, nodes }) => state === "FULL" && !nodes.includes(away))
      ? true
      : undefined;
  });
}

/** Room for a machine that does other work, by what a round of everyone takes on it. */
function busy(usual: readonly number[]): number {
  return 5 * percentiles(usual).max;
}

function figures(what: string, times: readonly number[]): void {
  const { p50, max } = percentiles(times);
  process.stdout.write(`failover: ${what}: p50 ${Math.round(p50)} ms, max ${Math.round(max)} ms\n`);
}

test("users of a killed node go on within 1.5 s on their sessions, and the copies are made anew", async () => {
  const cluster = await start({ nodes: 4, users: 24, restartAfter: "never" });
  const all = await users(cluster);
  await everyone(all, "first");
  const usual = await everyone(all, "before");
  await cluster.kill("n2");
  const times = await everyone(all, "after");
  figures("usually", usual);
  figures("kill -9", times);
  expect(percentiles(times).max).toBeLessThan(1500 + busy(usual));
  await wholeWithout(cluster, "n2");
  for (const user of all) await user.check();
  // Whoever comes back is used again.
  const back = serve(cluster, "n2");
  await until("n2 to be given primaries again", 60_000, async () => {
    const { members } = await cluster.status();
    const n2 = members.find(({ id }) => id === "n2");
    return (n2?.primaries ?? 0) > 4 ? true : undefined;
  });
  await everyone(all, "back");
  await cluster.settled();
  for (const user of all) await user.check();
  const { nodes } = cluster.ports;
  const shards = await cluster.shards();
  expect((await cluster.stop()).status).toBe(0);
  await back.stop();
  expect(await compareReplicas(nodes, shards)).toEqual([]);
}, 240_000);

test("a node that is back in time is brought up from the log", async () => {
  const cluster = await start({ nodes: 2, users: 8, restartAfter: "1s" });
  const all = await users(cluster);
  await everyone(all, "before");
  for (const node of ["n1", "n2", "n1"]) {
    await cluster.restart(node);
    // With two nodes there is no other place for the second copy: mail waits for the node.
    await cluster.settled();
    const times = await everyone(all, `after-${node}-${cluster.pid(node)}`);
    figures(`${node} is back`, times);
  }
  for (const user of all) await user.check();
  const { nodes } = cluster.ports;
  const shards = await cluster.shards();
  expect((await cluster.stop()).status).toBe(0);
  expect(await compareReplicas(nodes, shards)).toEqual([]);
}, 240_000);

test("a planned stop hands over: nobody waits out a lease", async () => {
  const cluster = await start({ nodes: 3, users: 12, restartAfter: "2s" });
  const all = await users(cluster);
  await everyone(all, "first");
  const usual = await everyone(all, "before");
  const shards = await cluster.shards();
  const epochs = new Map(shards.map(({ shard, epoch }) => [shard, epoch]));
  const run = { over: false };
  const times: number[] = [];
  const load = (async () => {
    for (let turn = 0; !run.over; turn++) times.push(...(await everyone(all, `turn-${turn}`)));
  })();
  load.catch(() => undefined);
  await cluster.restart("n1", "SIGTERM");
  run.over = true;
  await load;
  figures("planned stop", times);
  // Where it was a secondary it had itself removed before it ended: nobody waits for its lease, either.
  expect(percentiles(times).max).toBeLessThan(1500 + busy(usual));
  const after = await cluster.shards();
  for (const { shard, epoch, primary } of after) {
    const before = shards.find((one) => one.shard === shard);
    if (before?.primary.node !== "n1") continue;
    expect(epoch).toBeGreaterThan(epochs.get(shard) ?? 0);
    expect(primary.node).not.toBe(undefined);
  }
  await cluster.settled();
  for (const user of all) await user.check();
}, 180_000);

test("a drained node holds nothing, an undrained one is used again", async () => {
  const cluster = await start({ nodes: 4, users: 12 });
  const all = await users(cluster);
  await everyone(all, "before");
  const begun = await cluster.cli(["node", "drain", "n3"]);
  expect([begun.status, begun.stderr]).toEqual([0, ""]);
  expect(begun.stdout).toMatch(/^n3 is being emptied: \d+ copies left\n$/);
  await wholeWithout(cluster, "n3");
  const drained = await cluster.cli(["node", "drain", "n3", "--wait", "5s"]);
  expect([drained.status, drained.stdout, drained.stderr]).toEqual([0, "n3 holds nothing\n", ""]);
  const status = await cluster.cli(["cluster", "status"]);
  expect(status.stdout).toContain("node (draining)");
  await everyone(all, "drained");
  expect((await cluster.cli(["node", "undrain", "n3"])).status).toBe(0);
  await until("n3 to hold copies again", 60_000, async () => {
    const shards = await cluster.shards();
    return shards.some(({ nodes }) => nodes.includes("n3")) ? true : undefined;
  });
  for (const user of all) await user.check();
  const unknown = await cluster.cli(["node", "drain", "n9"]);
  expect(unknown.status).not.toBe(0);
  expect(unknown.stderr).toContain("n9");
}, 240_000);

test("a new node registers and gets copies", async () => {
  const cluster = await start({ nodes: 2, users: 6, set: ['cluster.link={"plaintext":true}'] });
  const all = await users(cluster);
  await everyone(all, "before");
  await addNode(cluster, "n7");
  await until("n7 to hold copies", 90_000, async () => {
    const shards = await cluster.shards();
    const whole = shards.filter(({ state, nodes }) => state === "FULL" && nodes.includes("n7"));
    return whole.length > 4 ? true : undefined;
  });
  await everyone(all, "after");
  for (const user of all) await user.check();
}, 240_000);

/** A configuration like n2's, with a name, a folder and ports of its own. */
async function addNode(cluster: DevCluster, id: string): Promise<void> {
  const document = parseDocument(readFileSync(cluster.configFile("n2"), "utf8"));
  const [link, http] = await freePorts(2);
  document.setIn(["member", "id"], id);
  document.setIn(["member", "dataDir"], join(cluster.data, id));
  document.setIn(["listen", "link", "port"], link);
  document.setIn(["listen", "http", "port"], http);
  writeFileSync(cluster.configFile(id), document.toString());
  serve(cluster, id);
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => {
        server.listen({ host: "127.0.0.1", port: 0 }, resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return ports;
}
