// The command line against a running cluster: what it says, its exit status, and that every gateway
// knows of a change when the command has returned.

import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 3, nodes: 2 });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

/** Runs a command that must succeed; returns its JSON. */
async function ok(...args: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await cluster.cli([...args, "--json"]);
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  return JSON.parse(stdout);
}

async function login(user: string, password: string, gateway: string): Promise<string> {
  const client = await ImapClient.connect(cluster.gateway(gateway).imap);
  const { status, text } = await client.command(`LOGIN ${user} ${password}`);
  client.close();
  return `${status} ${text}`;
}

test("users: added, shown, listed, given a quota and aliases, deleted", async () => {
  expect(
    await ok("user", "add", "kim@pabal.test", "--password", "one", "--quota", "1MiB"),
  ).toMatchObject({
    name: "kim@pabal.test",
    state: "active",
  });
  expect(await ok("user", "show", "kim@pabal.test")).toMatchObject({
    registration: { name: "kim@pabal.test" },
    quota: { limitBytes: 1024 * 1024, usedBytes: 0 },
  });
  await ok("user", "quota", "kim@pabal.test", "--quota", "2MiB", "--messages", "10");
  expect(await ok("user", "show", "kim@pabal.test")).toMatchObject({
    quota: { limitBytes: 2 * 1024 * 1024, limitMessages: 10 },
  });
  await ok("user", "alias", "kim@pabal.test", "sales@pabal.test");
  const sender = await SmtpClient.connect(cluster.gateway("g2").smtp);
  const message = ledgerMessage("to-alias", "for sales");
  expect(await sender.deliver({ to: ["sales+tag@pabal.test"], message })).toMatchObject({
    kind: "accepted",
  });
  await sender.quit();
  const names = (await ok("user", "list")) as readonly { name: string }[];
  expect(names.map(({ name }) => name)).toContain("kim@pabal.test");
  expect(await ok("user", "show", "sales@pabal.test")).toMatchObject({
    quota: { usedMessages: 1 },
  });
  await ok("user", "delete", "kim@pabal.test");
  for (const gateway of ["g1", "g2"])
    expect(await login("kim@pabal.test", "one", gateway)).toMatch(/^NO \[AUTHENTICATIONFAILED\]/);
});

test("a user can log in on every gateway as soon as `user add` has returned", {
  timeout: 120_000,
}, async () => {
  for (let n = 0; n < 50; n++) {
    const name = `fresh${n}@pabal.test`;
    // The first by the command line; it costs a process a user, so the rest by what it calls.
    if (n < 5) await ok("user", "add", name, "--password", `pw-${n}`);
    else {
      const answer = await cluster.admin(
        "POST",
        "/admin/v1/users",
        { name, password: `pw-${n}` },
        n % 2 === 0 ? "g1" : "g2",
      );
      expect(answer.status).toBeLessThan(300);
    }
    const answers = await Promise.all(
      ["g1", "g2"].map((gateway) => login(name, `pw-${n}`, gateway)),
    );
    for (const answer of answers) expect(answer).toMatch(/^OK /);
  }
});

test("passwd and disable end open sessions; enable lets in again", async () => {
  const open = async (gateway: string, password: string): Promise<ImapClient> => {
    const client = await ImapClient.connect(cluster.gateway(gateway).imap, {
      user: "u1",
      password,
    });
    await client.ok("SELECT INBOX");
    return client;
  };
  const before = [await open("g1", "secret"), await open("g2", "secret")];
  const [idling] = before;
  await idling?.idle();
  await ok("user", "passwd", "u1@pabal.test", "--password", "changed");
  for (const client of before) await ends(client);
  for (const gateway of ["g1", "g2"]) {
    expect(await login("u1", "secret", gateway)).toMatch(/^NO \[AUTHENTICATIONFAILED\]/);
    expect(await login("u1", "changed", gateway)).toMatch(/^OK /);
  }

  const between = await open("g2", "changed");
  await ok("user", "disable", "u1@pabal.test");
  await ends(between);
  for (const gateway of ["g1", "g2"]) {
    expect(await login("u1", "changed", gateway)).toMatch(/^NO /);
    const sender = await SmtpClient.connect(cluster.gateway(gateway).smtp);
    await sender.command("MAIL FROM:<a@example.org>");
    expect(await sender.command("RCPT TO:<u1@pabal.test>")).toMatch(/^550 5\.2\.1 /);
    await sender.quit();
  }
  await ok("user", "enable", "u1@pabal.test");
  for (const gateway of ["g1", "g2"]) expect(await login("u1", "changed", gateway)).toMatch(/^OK /);
});

test("a name that is deleted and added again has a higher UIDVALIDITY and no old mail", async () => {
  const uidValidity = async (): Promise<readonly number[]> => {
    const client = await ImapClient.connect(cluster.gateway("g2").imap, {
      user: "again",
      password: "pw",
    });
    const { untagged } = await client.ok("SELECT INBOX");
    await client.logout();
    const text = untagged.map((line) => line.text).join("\n");
    return [Number(/UIDVALIDITY (\d+)/.exec(text)?.[1]), Number(/\* (\d+) EXISTS/.exec(text)?.[1])];
  };
  await ok("user", "add", "again@pabal.test", "--password", "pw");
  const sender = await SmtpClient.connect(cluster.gateway().smtp);
  await sender.deliver({ to: ["again@pabal.test"], message: ledgerMessage("old", "old") });
  await sender.quit();
  const [first = 0, held] = await uidValidity();
  expect(held).toBe(1);
  await ok("user", "delete", "again@pabal.test");
  await ok("user", "add", "again@pabal.test", "--password", "pw");
  const [second, left] = await uidValidity();
  expect(second).toBeGreaterThan(first);
  expect(left).toBe(0);
});

test("import takes lines of JSON, tells the bad ones and goes on", async () => {
  const file = join(cluster.folder, "users.jsonl");
  const users = Array.from({ length: 250 }, (_, n) =>
    JSON.stringify({ name: `imp${n}@pabal.test`, hash: sshaOf(`pw${n}`) }),
  );
  writeFileSync(file, [...users, "no json", '{"name":"bad name","password":"x"}'].join("\n"));
  const { status, stdout, stderr } = await cluster.cli(["user", "import", file, "--json"]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
  const { imported, failures } = JSON.parse(stdout) as { imported: number; failures: string[] };
  expect(imported).toBe(250);
  expect(failures).toHaveLength(2);
  expect(failures.join("\n")).toContain("line 251");
  for (const gateway of ["g1", "g2"]) {
    expect(await login("imp7@pabal.test", "pw7", gateway)).toMatch(/^OK /);
    expect(await login("imp7@pabal.test", "pw8", gateway)).toMatch(/^NO \[AUTHENTICATIONFAILED\]/);
  }
});

test("cluster status names all members and says that all shards are on two nodes", async () => {
  const status = (await ok("cluster", "status")) as {
    shards: { total: number; full: number };
    members: { id: string; up: boolean }[];
  };
  expect(status.shards.full).toBe(status.shards.total);
  expect(status.members.map(({ id }) => id).toSorted()).toEqual(["c1", "g1", "g2", "n1", "n2"]);
  expect(status.members.every(({ up }) => up)).toBe(true);
  const { status: code, stdout } = await cluster.cli(["cluster", "status"]);
  expect(code).toBe(0);
  expect(stdout).toContain("n2");
});

test("config check and show read a member's own file", async () => {
  const file = cluster.configFile("g1");
  expect(await ok("config", "check", file)).toMatchObject({
    ok: true,
    member: "g1",
    role: "gateway",
  });
  expect(await ok("config", "show", file)).toMatchObject({
    limits: { messageBytes: 50 * 1024 * 1024 },
  });
});

test.each([
  [["user", "show", "nobody@pabal.test"], 67, /no such user/],
  [["user", "add", "u2@pabal.test", "--password", "x"], 1, /taken|exists|in use/i],
  [["user", "add", "not an address", "--password", "x"], 1, /address/i],
  [["user", "quota", "u2@pabal.test"], 64, /--quota/],
  [["user", "add", "q@pabal.test", "--password", "x", "--quota", "5"], 64, /such as 5GiB/],
  [["no-such-command"], 64, /unknown command/],
  [["config", "check", "/nowhere.yaml"], 78, /nowhere\.yaml:1:1/],
] as const)("pabal %j fails with status %i and says why", async (args, code, why) => {
  const { status, stderr, stdout } = await cluster.cli(args);
  expect({ status, stdout, stderr }).toMatchObject({ status: code, stdout: "" });
  expect(stderr).toMatch(why);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test("without a cluster the command says where it looked", async () => {
  const { status, stderr } = await cluster.cli([
    "user",
    "list",
    "--admin",
    "http://127.0.0.1:1",
    "--admin-token",
    "x",
  ]);
  expect(status).toBe(69);
  expect(stderr).toContain("http://127.0.0.1:1");
});

function sshaOf(password: string): string {
  const salt = Buffer.from("saltsalt");
  const digest = createHash("sha1").update(password).update(salt).digest();
  return `{SSHA}${Buffer.concat([digest, salt]).toString("base64")}`;
}

async function ends(client: ImapClient): Promise<void> {
  // Told at once when it waits, at its next command otherwise.
  client.send("x NOOP\r\n");
  for (;;) {
    try {
      await client.readLine(5000);
    } catch (error) {
      expect(String(error)).toMatch(/closed|ECONNRESET|EPIPE/);
      return;
    }
  }
}
