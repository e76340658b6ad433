// Stopping and coming back: `pabal dev` ends in order and leaves nothing behind, sessions are told,
// data continues, a gateway's directory rebuilds itself, members that died are started again.

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { belowTrace, hashOf, ledgerMessage } from "../support/ledger.ts";
import { LineClient } from "../support/line-client.ts";
import { isAlive, signalPid, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const clusters: DevCluster[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.destroy()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function start(...options: Parameters<typeof DevCluster.start>): Promise<DevCluster> {
  const cluster = await DevCluster.start(...options);
  clusters.push(cluster);
  return cluster;
}

test("SIGTERM: sessions are told, everything ends within 8 s with status 0, nothing is left", async () => {
  const cluster = await start({ nodes: 2, users: 2 });
  const { gateways, nodes, coordinator, password } = cluster.ports;
  const pids = [...gateways, ...nodes, coordinator].map(({ pid }) => pid);
  const { smtp, imap, pop3, http } = cluster.gateway();
  const idling = await ImapClient.connect(imap, { user: "u1", password });
  await idling.ok("SELECT INBOX");
  await idling.idle();
  const quiet = await ImapClient.connect(imap);
  const sender = await SmtpClient.connect(smtp);
  const reader = await LineClient.connect({ port: pop3 });
  await reader.readLine();
  const half = await SmtpClient.connect(smtp);
  await half.command("MAIL FROM:<a@example.org>");
  await half.command("RCPT TO:<u1@pabal.test>");
  await half.command("DATA");
  half.send("Subject: never ends\r\n");

  const { status, ms } = await cluster.stop();
  expect(status).toBe(0);
  expect(ms).toBeLessThan(8000);
  expect(pids.filter((pid) => isAlive(pid))).toEqual([]);
  expect(existsSync(cluster.portsFile)).toBe(false);
  expect(readdirSync(cluster.folder).filter((name) => name.startsWith("pabal-dev"))).toEqual([]);
  expect((await idling.untilLine(/^\* BYE/)).text).toMatch(/^\* BYE /);
  expect((await quiet.untilLine(/^\* BYE/)).text).toMatch(/^\* BYE /);
  expect(await sender.reply()).toMatch(/^421 4\.3\.2 /);
  expect(await half.reply()).toMatch(/^421 4\.3\.2 /);
  await reader.readEnd().catch(async () => expect(await reader.readLine()).toMatch(/^-ERR /));
  await expect(fetch(`http://127.0.0.1:${http}/healthz`)).rejects.toThrow();
  for (const client of [idling, quiet, sender, half, reader]) client.close();
});

test("a second SIGTERM kills", async () => {
  const cluster = await start({ nodes: 2, users: 1 });
  const { gateways, nodes, coordinator } = cluster.ports;
  const pids = [...gateways, ...nodes, coordinator].map(({ pid }) => pid);
  // A member that does not listen keeps the orderly stop waiting.
  cluster.signal("g1", "SIGSTOP");
  const half = await SmtpClient.connect(cluster.gateway("g2").smtp);
  await half.command("MAIL FROM:<a@example.org>");
  await half.command("RCPT TO:<u1@pabal.test>");
  await half.command("DATA");
  signalPid(cluster.pid("dev"), "SIGTERM");
  await until("the drain to begin", 5000, () =>
    cluster.log().includes("member stops") ? true : undefined,
  );
  const { ms } = await cluster.stop();
  expect(ms).toBeLessThan(3000);
  expect(pids.filter((pid) => isAlive(pid))).toEqual([]);
  half.close();
});

test("a continued --data folder has its mail, its users and its UIDs", {
  timeout: 120_000,
}, async () => {
  const data = mkdtempSync(join(tmpdir(), "pabal-it-data-"));
  folders.push(data);
  const message = ledgerMessage("kept", "over a restart");
  const first = await start({ nodes: 2, users: 2, data });
  await first.cli(["user", "add", "new@pabal.test", "--password", "other"]);
  await deliver(first, "u1@pabal.test", message);
  await deliver(first, "new@pabal.test", message);
  const before = await readInbox(first, "u1", "secret");
  expect((await first.stop()).status).toBe(0);

  const second = await start({ nodes: 2, users: 2, data });
  expect(await readInbox(second, "u1", "secret")).toEqual(before);
  expect((await readInbox(second, "new@pabal.test", "other")).hashes).toEqual([hashOf(message)]);
  await deliver(second, "u1@pabal.test", message);
  const after = await readInbox(second, "u1", "secret");
  expect(after.uidValidity).toBe(before.uidValidity);
  expect(after.uids).toEqual([...before.uids, (before.uids.at(-1) ?? 0) + 1]);
});

test("a gateway without its directory rebuilds it and never says that a user is unknown meanwhile", async () => {
  const cluster = await start({ nodes: 2, users: 5, restartAfter: "3s" });
  const { users, password } = cluster.ports;
  const gone = cluster.pid("g2");
  await cluster.kill("g2");
  rmSync(join(cluster.data, "g2", "directory"), { recursive: true });
  const replies = new Set<string>();
  await until("g2 to take mail again", 30_000, async () => {
    const client = await SmtpClient.connect(cluster.gateway("g2").smtp).catch(() => undefined);
    if (client === undefined) return undefined;
    await client.command("MAIL FROM:<a@example.org>");
    const all = await Promise.all(
      users.slice(0, 1).map((user) => client.command(`RCPT TO:<${user}>`)),
    );
    for (const reply of all) replies.add(reply.slice(0, 3));
    client.close();
    return all.every((reply) => reply.startsWith("250")) ? true : undefined;
  });
  replies.delete("451");
  expect([...replies]).toEqual(["250"]);
  await cluster.ready(["g2"]);
  for (const user of users) {
    const client = await ImapClient.connect(cluster.gateway("g2").imap, { user, password });
    await client.logout();
  }
  expect(cluster.pid("g2")).not.toBe(gone);
  expect(isAlive(cluster.pid("g2"))).toBe(true);
});

async function deliver(cluster: DevCluster, to: string, message: Buffer): Promise<void> {
  const client = await SmtpClient.connect(cluster.gateway().smtp);
  const outcome = await client.deliver({ to: [to], message });
  expect(outcome.kind).toBe("accepted");
  await client.quit();
}

async function readInbox(
  cluster: DevCluster,
  user: string,
  password: string,
): Promise<{ uidValidity: number; uids: readonly number[]; hashes: readonly string[] }> {
  const client = await ImapClient.connect(cluster.gateway("g2").imap, { user, password });
  const select = await client.ok("SELECT INBOX");
  const status = select.untagged.map(({ text }) => text).join("\n");
  const { untagged } = await client.ok("UID FETCH 1:* BODY.PEEK[]");
  await client.logout();
  const bodies = untagged.filter(({ literals }) => literals.length > 0);
  return {
    uidValidity: Number(/UIDVALIDITY (\d+)/.exec(status)?.[1]),
    uids: bodies.map(({ text }) => Number(/UID (\d+)/.exec(text)?.[1])),
    hashes: bodies.map(({ literals }) => belowTrace(literals[0] ?? Buffer.alloc(0))?.hash ?? ""),
  };
}
