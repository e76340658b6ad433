// A mail node that is down and stays down: its users are told to try again, in bounded time and in
// each protocol's own words, everybody else is served, and its return heals everything.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { LineClient } from "../support/line-client.ts";
import type { ServedMember } from "../support/processes.ts";
import { compareReplicas } from "../support/replicas.ts";
import { type SendOutcome, SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
let returned: ServedMember | undefined;
/** limits.rpc, and some for a busy machine. */
const answerMs = 2000 + 4000;

beforeAll(async () => {
  cluster = await DevCluster.start({
    users: 24,
    restartAfter: "never",
    set: ["limits.rpc=2s", "log.level=warn"],
  });
}, 90_000);
afterAll(async () => {
  await returned?.stop();
  await cluster.destroy();
});

interface Tried {
  readonly outcome: SendOutcome;
  readonly ms: number;
}

test("a node that is down: 451, NO [UNAVAILABLE], -ERR [SYS/TEMP] for its users only; its return heals", {
  timeout: 150_000,
}, async () => {
  const { users } = cluster.ports;
  await cluster.kill("n1");

  const first = new Map<string, Tried>();
  await Promise.all(users.map(async (user) => first.set(user, await deliver(user, "first"))));
  const refused = users.filter((user) => first.get(user)?.outcome.kind !== "accepted");
  for (const user of refused) {
    const { outcome, ms } = first.get(user) ?? { outcome: undefined, ms: 0 };
    expect(outcome).toMatchObject({ kind: "unknown" });
    expect(outcome?.kind === "unknown" ? outcome.why : "").toMatch(/^451 4\.\d\.\d .*try again/i);
    expect(ms).toBeLessThan(answerMs);
  }
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(users.length);

  let [unreadable, readOnly, served] = [0, 0, 0];
  await Promise.all(
    users.map(async (user) => {
      const imap = await selectAndAppend(user);
      const pop3 = await loginByPop3(user);
      expect(imap.ms).toBeLessThan(2 * answerMs);
      if (!imap.select.startsWith("OK")) {
        expect(imap.select).toMatch(/^NO \[UNAVAILABLE\]/);
        expect(pop3).toMatch(/^-ERR \[SYS\/TEMP\]/);
        unreadable++;
      } else if (!imap.append.startsWith("OK")) {
        expect(imap.append).toMatch(/^NO \[UNAVAILABLE\]/);
        expect(pop3).toMatch(/^\+OK/);
        readOnly++;
      } else {
        expect(pop3).toMatch(/^\+OK/);
        expect(refused).not.toContain(user);
        served++;
      }
    }),
  );
  expect(unreadable + readOnly).toBe(refused.length);
  expect([unreadable > 0, readOnly > 0, served > 0]).toEqual([true, true, true]);

  returned = cluster.serve("n1");
  await cluster.settled(30_000);
  for (const user of refused) {
    const { outcome } = await deliver(user, "second");
    expect([user, outcome.kind]).toEqual([user, "accepted"]);
  }
  for (const user of users) {
    const found = await ledgerIds(user);
    const of = (id: string): number => found.filter((name) => name === `${user}-${id}`).length;
    expect([user, of("second")]).toEqual([user, refused.includes(user) ? 1 : 0]);
    // Without an answer it may be there, once; with one it must.
    if (refused.includes(user)) expect([user, of("first") <= 1]).toEqual([user, true]);
    else expect([user, of("first")]).toEqual([user, 1]);
  }

  const folders = cluster.ports.nodes;
    const shards = await cluster.shards();
  expect((await cluster.stop()).status).toBe(0);
  expect(await returned.stop()).toBe(0);
  returned = undefined;
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
