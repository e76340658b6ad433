// What people and networks get wrong: each gets a clear answer that says what to do, and nothing is
// lost by it. Folders and files first, then what comes in over the wire. A full disk is disk-full.test.ts's.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Level } from "level";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, parseDocument } from "yaml";
import { beginRow, endRow, openRow } from "../../src/store/row.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { LineClient } from "../support/line-client.ts";
import { isAlive, runCommand, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 4, nodes: 2, restartAfter: "never" });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

/** A copy of a member's file with other values; paths with dots. */
function changedConfig(id: string, values: Readonly<Record<string, unknown>>): string {
  const document = parseDocument(readFileSync(cluster.configFile(id), "utf8"));
  for (const [path, value] of Object.entries(values)) document.setIn(path.split("."), value);
  const file = join(mkdtempSync(join(cluster.folder, "config-")), `${id}.yaml`);
  writeFileSync(file, document.toString());
  return file;
}

async function serve(file: string): Promise<{ status: number; stdout: string; stderr: string }> {
  return runCommand(["serve", "--config", file], { withinMs: 15_000 });
}

test("a wrong configuration: status 78, file:line:column and the key that was meant", async () => {
  const file = changedConfig("n1", { "limits.mesageBytes": "50MiB", "limits.drain": 5 });
  const { status, stderr } = await serve(file);
  expect(status).toBe(78);
  expect(stderr).toMatch(
    /n1\.yaml:\d+:\d+: unknown key "limits\.mesageBytes"; did you mean "messageBytes"\?/,
  );
  expect(stderr).toMatch(/n1\.yaml:\d+:\d+: "limits\.drain": wants a duration with a unit/);
});

test.each(["n1", "g1", "c1"])(
  "a second process on the data folder of %s is refused and names the first",
  async (id) => {
    const { status, stderr } = await serve(cluster.configFile(id));
    expect(status).toBe(69);
    expect(stderr).toContain(`in use by process ${cluster.pid(id)}`);
    expect(stderr).toMatch(/stop it, or give this one another dataDir/);
    expect(isAlive(cluster.pid(id))).toBe(true);
  },
);

test("unknown users, relaying and mailboxes that are full are refused by name and code", async () => {
  const { status, stderr } = await cluster.cli([
    "user",
    "quota",
    "u4@pabal.test",
    "--messages",
    "2",
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const client = await SmtpClient.connect(cluster.gateway().smtp);
  await client.command("MAIL FROM:<a@example.org>");
  expect(await client.command("RCPT TO:<nobody@pabal.test>")).toMatch(/^550 5\.1\.1 /);
  expect(await client.command("RCPT TO:<a@elsewhere.test>")).toMatch(/^554 5\.7\.1 /);
  await client.command("RSET");
  const message = ledgerMessage("quota", "fits");
  for (let n = 0; n < 2; n++)
    expect((await client.deliver({ to: ["u4@pabal.test"], message })).kind).toBe("accepted");
  const refusal = await until("the gateway to know", 5000, async () => {
    await client.command("MAIL FROM:<a@example.org>");
    const reply = await client.command("RCPT TO:<u4@pabal.test>");
    await client.command("RSET");
    return reply.startsWith("250") ? undefined : reply;
  });
  expect(refusal).toMatch(/^452 4\.2\.2 /);
  await client.quit();
  const imap = await ImapClient.connect(cluster.gateway("g2").imap, {
    user: "u4",
    password: "secret",
  });
  const append = await imap.command("APPEND INBOX ", message);
  expect(`${append.status} ${append.text}`).toMatch(/^NO \[OVERQUOTA\]/);
  expect((await imap.ok("STATUS INBOX (MESSAGES)")).untagged[0]?.text).toContain("MESSAGES 2");
  await imap.logout();
});

test("malformed commands get an answer each and the session goes on", async () => {
  const { smtp, imap, pop3 } = cluster.gateway();
  const sender = await SmtpClient.connect(smtp);
  expect(await sender.command("MAIL TO:<a@b>")).toMatch(/^501 /);
  expect(await sender.command("RCPT TO:<u1@pabal.test>")).toMatch(/^503 /);
  expect(await sender.command("\u0001\u0002")).toMatch(/^500 /);
  expect(await sender.command("NOOP")).toMatch(/^250 /);
  await sender.quit();
  const client = await ImapClient.connect(imap, { user: "u1", password: "secret" });
  for (const line of [
    "FETCH",
    "SELECT",
    "FETCH 1 (BODY[",
    "STORE 1 +FLAGS",
    "NO SUCH",
    "SEARCH ((((",
    "UID FETCH * *",
  ])
    expect([line, (await client.command(line)).status]).toEqual([line, "BAD"]);
  await client.ok("NOOP");
  await client.logout();
  const reader = await LineClient.connect({ port: pop3 });
  await reader.readLine();
  for (const line of ["NONSENSE", "RETR x", "PASS", "APOP", ""]) {
    reader.send(`${line}\r\n`);
    expect(await reader.readLine()).toMatch(/^-ERR/);
  }
  reader.send("QUIT\r\n");
  expect(await reader.readLine()).toMatch(/^\+OK/);
  reader.close();
});

test("garbage on the link ports closes the link; the member serves on", async () => {
  for (const id of ["n1", "n2", "c1"]) {
    const config = parse(readFileSync(cluster.configFile(id), "utf8")) as {
      listen: { link: { port: number } };
    };
    const { port } = config.listen.link;
    for (const bytes of [
      randomBytes(64 * 1024),
      Buffer.from("GET / HTTP/1.0\r\n\r\n"),
      Buffer.from([0xff, 0xff, 0xff, 0xff]),
    ]) {
      const client = await LineClient.connect({ port, timeoutMs: 15_000 });
      client.send(bytes);
      client.end();
      await until("the link to close", 15_000, async () => {
        try {
          await client.readEnd();
          return true;
        } catch (error) {
          // An answer in its own protocol (a TLS alert) may come first.
          if (!String(error).includes("not the end")) return true;
          await client.readBytes(1);
          return undefined;
        }
      });
      client.close();
    }
    expect(isAlive(cluster.pid(id))).toBe(true);
  }
  await cluster.ready();
  await deliver(cluster, "u1@pabal.test", ledgerMessage("after-garbage", "still here"));
});

test.each([
  ["g2", "imap"],
  ["g2", "http"],
  ["n2", "http"],
  ["n2", "link"],
] as const)(
  "%s with listen.%s on a port that is in use ends at once and says so",
  async (id, name) => {
    if (isAlive(cluster.pid(id))) await cluster.kill(id, "SIGTERM");
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const { status, stderr } = await serve(changedConfig(id, { [`listen.${name}.port`]: port }));
    taken.close();
    expect(stderr).toMatch(
      new RegExp(
        `listen\\.${name} 127\\.0\\.0\\.1:${port}: the port is in use: stop .* or choose another`,
      ),
    );
    expect(status).toBe(69);
  },
);

test("data of a newer format is refused with the words that a newer Pabal is needed, and is not touched", {
  timeout: 120_000,
}, async () => {
  if (isAlive(cluster.pid("n2"))) await cluster.kill("n2", "SIGTERM");
  const { data } = cluster.node("n2");
  const key = Buffer.from([0x4e]);
  const index = new Level<Buffer, Buffer>(join(data, "index"), {
    keyEncoding: "buffer",
    valueEncoding: "buffer",
  });
  await index.open();
  const row = await index.get(key);
  await index.put(key, newerRow(key, row ?? Buffer.alloc(0)));
  await index.close();
  const { status, stderr } = await serve(cluster.configFile("n2"));
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/format 3.*newer/s);
  expect(stderr).not.toMatch(/^\s+at /m);
  await index.open();
  await index.put(key, row ?? Buffer.alloc(0));
  await index.close();
  const back = cluster.serve("n2");
  await cluster.ready(["g1", "n2"]);
  await deliver(cluster, "u2@pabal.test", ledgerMessage("after-format", "kept"));
  expect(await back.stop()).toBe(0);
});

function newerRow(key: Buffer, row: Buffer): Buffer {
  const old = openRow(key, row);
  const version = old.varint();
  const id = old.text();
  const out = beginRow();
  out.varint(version + 1);
  out.text(id);
  return endRow(key);
}

async function deliver(to: DevCluster, user: string, message: Buffer): Promise<void> {
  const client = await SmtpClient.connect(to.gateway().smtp);
  expect(await client.deliver({ to: [user], message })).toMatchObject({ kind: "accepted" });
  await client.quit();
}
