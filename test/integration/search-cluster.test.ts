// The search index in a cluster: each node indexes the copies that it holds, and SEARCH finds the same when
// the primary is gone, and when a node comes back without its index.

import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { until } from "../support/processes.ts";

const messages = 150;
let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({
    users: 1,
    nodes: 2,
    restartAfter: "never",
    startMs: 80_000,
    set: ["log.level=warn"],
  });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

async function login(): Promise<ImapClient> {
  const { users, password } = cluster.ports;
  return ImapClient.connect(cluster.gateway().imap, { user: users[0] ?? "", password }, 60_000);
}

function mail(number: number): string {
  const words = number % 2 === 0 ? "분기 보고서를 보냅니다" : "the quarterly report";
  const head = `Subject: number ${number}\r\nContent-Type: text/plain; charset=utf-8`;
  const noise = randomBytes(24).toString("base64");
  return `${head}\r\n\r\n${words} mail${number}x\r\n${noise}\r\n`;
}

/** Messages that a node has put into its index since it started. */
async function indexed(node: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${cluster.node(node).http}/metrics`);
  return Number(/^pabal_search_indexed_total\S* (\d+)/m.exec(await answer.text())?.[1] ?? 0);
}

async function allIndexed(nodes: readonly string[]): Promise<void> {
  for (const node of nodes) {
    await until(`the index of ${node}`, 40_000, async () =>
      (await indexed(node).catch(() => 0)) >= messages - 63 ? true : undefined,
    );
  }
}

async function expectFound(): Promise<void> {
  const client = await login();
  await client.ok("SELECT INBOX");
  for (const [text, expected] of [
    ["보고서", messages / 2],
    ["uarterly", messages / 2],
    ["mail77x", 1],
    ["nowhere", 0],
  ] as const) {
    const { untagged } = await client.ok("UID SEARCH CHARSET UTF-8 BODY ", Buffer.from(text));
    const line = untagged.find((one) => one.text.startsWith("* SEARCH"))?.text ?? "";
    expect(line.split(" ").slice(2).filter(Boolean), text).toHaveLength(expected);
  }
  await client.logout();
}

test("every copy is indexed, searched after a failover, and made anew when it was deleted", {
  timeout: 240_000,
}, async () => {
  const client = await login();
  for (let number = 1; number <= messages; number++) {
    const bytes = Buffer.from(mail(number));
    await client.ok("APPEND INBOX ", bytes);
  }
  await client.logout();
  const [shard] = (await cluster.shards()).filter(({ whole }) => whole.length > 1);
  const nodes = shard?.nodes ?? [];
  expect(nodes).toHaveLength(2);
  await allIndexed(nodes);
  await expectFound();
  const [first = "n1"] = nodes;
  await cluster.kill(first);
  await expectFound();
  const folder = join(cluster.data, first, "search");
  expect(existsSync(folder)).toBe(true);
  rmSync(folder, { recursive: true });
  const member = cluster.serve(first);
  try {
    await cluster.settled();
    await allIndexed([first]);
    expect(readdirSync(folder).length).toBeGreaterThan(1);
    await expectFound();
  } finally {
    await member.stop("SIGKILL");
  }
});
