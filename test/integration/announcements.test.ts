// Posting by operators against a running cluster: messages as large as mail may be, taken as they
// come; replacing one by another in one step, once however often it is asked.

import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 2, set: ["limits.messageBytes=8MiB"] });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

const path = "/admin/v1/groups/all/announcements";

async function cli(args: readonly string[], input = ""): Promise<string> {
  const { status, stdout, stderr } = await cluster.cli(["announce", ...args, "--json"], input);
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  return stdout;
}

async function send(args: readonly string[], input = ""): Promise<string> {
  return (JSON.parse(await cli(args, input)) as { id: string }).id;
}

async function subjects(): Promise<readonly string[]> {
  const listed = JSON.parse(await cli(["list"])) as { id: string; subject: string }[];
  return listed.map(({ id, subject }) => `${id} ${subject}`);
}

function login(user: string, gateway: string): Promise<ImapClient> {
  const { password } = cluster.ports;
  return ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
}

/** A message with an attachment, so many bytes in all. */
function largeMessage(bytes: number): Buffer {
  const head =
    'Subject: large\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name="x"\r\n' +
    "Content-Transfer-Encoding: base64\r\n\r\n";
  const lines = Math.floor((bytes - head.length) / 78);
  const text = randomBytes(57 * lines).toString("base64");
  return Buffer.from(head + (text.match(/.{76}/g) ?? []).join("\r\n") + "\r\n");
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("an announcement may be as large as mail, and no larger", async () => {
  const file = join(cluster.folder, "large.eml");
  const message = largeMessage(7 * 1024 * 1024);
  writeFileSync(file, message);
  const id = await send(["send", file]);
  const client = await login("u1", "g2");
  await client.ok("SELECT Announcements/all");
  const { untagged } = await client.ok(`UID FETCH ${id} (RFC822.SIZE BODY.PEEK[TEXT])`);
  const body = untagged[0]?.literals[0] ?? Buffer.alloc(0);
  expect(digest(body)).toBe(digest(message.subarray(message.indexOf("\r\n\r\n") + 4)));
  await client.logout();
  writeFileSync(file, largeMessage(9 * 1024 * 1024));
  const { status, stderr } = await cluster.cli(["announce", "send", file]);
  expect(status).not.toBe(0);
  expect(stderr).toContain("more than 8388608 bytes (limits.messageBytes)");
  // Where no length is told, it is counted.
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("Subject: x\r\n\r\n");
    const piece = Buffer.alloc(256 * 1024, "a line of text\r\n");
    for (let left = 40; left > 0; left--) yield piece;
  }
  const { http } = cluster.gateway("g1");
  const answer = await fetch(`http://127.0.0.1:${http}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${cluster.ports.admin.token}` },
    body: endless(),
    duplex: "half",
  } as RequestInit).catch(() => undefined);
  // It may have been cut off before it read the answer.
  if (answer !== undefined) expect(answer.status).toBe(400);
  expect(await subjects()).toEqual([`${id} large`]);
}, 60_000);

test("JSON is not posted to everyone by mistake", async () => {
  const { http } = cluster.gateway("g1");
  const answer = await fetch(`http://127.0.0.1:${http}${path}`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${cluster.ports.admin.token}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({ message: "aGk=" }),
  });
  expect(answer.status).toBe(415);
  // Its body is not read: a client that sent something behind it would lose that.
  expect(answer.headers.get("connection")).toBe("close");
});

test("a replacement comes and the old one goes in one step, once however often it is asked", async () => {
  const old = await send(["send", "-", "--subject", "wrong"], "wrong");
  const client = await login("u2", "g2");
  await client.ok("SELECT Announcements/all");
  await client.idle();
  const once = ["--subject", "right", "--id", "a".repeat(32)];
  const id = await send(["replace", old, "-", ...once], "right");
  await client.untilLine(/EXISTS|EXPUNGE|VANISHED/, 20_000);
  await client.done();
  const again = await send(["replace", old, "-", ...once], "right");
  expect(again).toBe(id);
  const now = await subjects();
  expect(now).toContain(`${id} right`);
  expect(now.filter((one) => /right|wrong/.test(one))).toHaveLength(1);
  // Acknowledged: nobody is shown the old one.
  const { untagged } = await client.ok(`UID FETCH ${old} BODY.PEEK[]`);
  expect(untagged.filter(({ literals }) => literals.length > 0)).toEqual([]);
  await client.logout();
  // What is gone is not replaced, and nothing is posted in its place.
  const late = await cluster.cli(["announce", "replace", old, "-", "--subject", "late"], "late");
  expect(late.status).not.toBe(0);
  expect(await subjects()).toEqual(now);
}, 60_000);

test("what waits for its time is replaced by what waits, or comes at once", async () => {
  const at = new Date(Date.now() + 86_400_000).toISOString();
  const first = await send(["send", "-", "--subject", "later", "--at", at], "later");
  const second = await send(["replace", first, "-", "--subject", "later still", "--at", at], "x");
  expect((await subjects()).filter((one) => one.includes("later"))).toEqual([
    `${second} later still`,
  ]);
  const third = await send(["replace", second, "-", "--subject", "now"], "x");
  expect(third).toMatch(/^\d+$/);
  expect((await subjects()).filter((one) => one.includes("later"))).toEqual([]);
  const refused = await cluster.cli(["announce", "replace", third, "-", "--at", at], "x");
  expect(refused.stderr).toContain("leave out the time");
}, 60_000);
