// Two of three mail nodes are down and stay down: whoever has a copy left reads, everybody else is told
// to try again, in bounded time and in each protocol's own words, and the nodes' return heals everything.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { LineClient } from "../support/line-client.ts";
import type { ServedMember } from "../support/processes.ts";
import { compareReplicas } from "../support/replicas.ts";
import { type SendOutcome, SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
const returned: ServedMember[] = [];
/** limits.rpc, the spool's patience, and some for a busy machine. */
const answerMs = 2000 + 2000 + 6000;

beforeAll(async () => {
  cluster = await DevCluster.start({
    users: 24,
    restartAfter: "never",
    set: ["limits.rpc=2s", "log.level=warn"],
  });
}, 90_000);
afterAll(async () => {
  await Promise.all(returned.map((member) => member.stop()));
  await cluster.destroy();
});

interface Tried {
  readonly outcome: SendOutcome;
  readonly ms: number;
}

test("with one copy left: reads go on, changes get 451 and NO [UNAVAILABLE]; without one nothing does", {
  timeout: 240_000,
}, async () => {
  const { users } = cluster.ports;
  await Promise.all([cluster.kill("n1"), cluster.kill("n2")]);

  const first = new Map<string, Tried>();
  await Promise.all(users.map(async (user) => first.set(user, await deliver(user, "first"))));
  for (const user of users) {
    const { outcome, ms } = first.get(user) ?? { outcome: undefined, ms: 0 };
    expect([user, outcome?.kind]).toEqual([user, "unknown"]);
    expect(outcome?.kind === "unknown" ? outcome.why : "").toMatch(/^451 4\.\d\.\d .*try again/i);
    expect(ms).toBeLessThan(answerMs);
  }

  let [unreadable, readOnly] = [0, 0];
  await Promise.all(
    users.map(async (user) => {
      const imap = await selectAndAppend(user);
      const pop3 = await loginByPop3(user);
      expect(imap.ms).toBeLessThan(2 * answerMs);
      expect(imap.append).toMatch(/^NO \[UNAVAILABLE\]/);
      if (imap.select.startsWith("OK")) {
        expect(pop3).toMatch(/^\+OK/);
        readOnly++;
      } else {
        expect(imap.select).toMatch(/^NO \[UNAVAILABLE\]/);
        expect(pop3).toMatch(/^-ERR \[SYS\/TEMP\]/);
        unreadable++;
      }
    }),
  );
  expect([unreadable > 0, readOnly > 0]).toEqual([true, true]);

  returned.push(cluster.serve("n1"), cluster.serve("n2"));
  await cluster.settled(60_000);
  for (const user of users) {
    const { outcome } = await deliver(user, "second");
    expect([user, outcome.kind]).toEqual([user, "accepted"]);
  }
  for (const user of users) {
    const found = await ledgerIds(user);
    const of = (id: string): number => found.filter((name) => name === `${user}-${id}`).length;
    expect([user, of("second")]).toEqual([user, 1]);
    // Without an answer it may be there, once.
    expect([user, of("first") <= 1]).toEqual([user, true]);
  }

  const folders = cluster.ports.nodes;
  const shards = await cluster.shards();
  // At the same time: a primary that goes on alone could append what nobody else has.
  const stopped = returned.splice(0).map((member) => member.stop());
  expect([(await cluster.stop()).status, ...(await Promise.all(stopped))]).toEqual([0, 0, 0]);
  expect(await compareReplicas(folders, shards)).toEqual([]);
});

async function deliver(user: string, id: string): Promise<Tried> {
  const client = await SmtpClient.connect(cluster.gateway().smtp);
  const started = performance.now();
  const outcome = await client.deliver({ to: [user], message: ledgerMessage(`${user}-${id}`, id) });
  await client.quit();
  return { outcome, ms: performance.now() - started };
}

async function selectAndAppend(
  user: string,
): Promise<{ select: string; append: string; ms: number }> {
  const { password } = cluster.ports;
  const client = await ImapClient.connect(cluster.gateway().imap, { user, password });
  const started = performance.now();
  const select = await client.command("SELECT INBOX");
  const append = await client.command("APPEND Drafts ", ledgerMessage(`${user}-draft`, "draft"));
  const ms = performance.now() - started;
  await client.logout();
  return {
    select: `${select.status} ${select.text}`,
    append: `${append.status} ${append.text}`,
    ms,
  };
}

async function loginByPop3(user: string): Promise<string> {
  const client = await LineClient.connect({ port: cluster.gateway("g2").pop3, timeoutMs: 10_000 });
  try {
    await client.readLine();
    client.send(`USER ${user}\r\n`);
    await client.readLine();
    client.send(`PASS ${cluster.ports.password}\r\n`);
    return await client.readLine();
  } finally {
    client.close();
  }
}

async function ledgerIds(user: string): Promise<readonly string[]> {
  const { password } = cluster.ports;
  const client = await ImapClient.connect(cluster.gateway("g2").imap, { user, password });
  await client.ok("SELECT INBOX");
  const { untagged } = await client.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Ledger)])");
  await client.logout();
  return untagged.flatMap(
    ({ literals }) => /X-Ledger: (\S+)/.exec(literals[0]?.toString("latin1") ?? "")?.[1] ?? [],
  );
}
