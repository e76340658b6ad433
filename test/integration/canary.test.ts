// Secrets stay out of logs: at trace level, through every way to give a password, right and wrong, no
// form of it and no message text reaches what the members write. security.md row 17.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { LineClient } from "../support/line-client.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const password = "canary-7Hq2xVw9";
const text = "canary-text-Zk41mRt8";
const user = "canary@pabal.test";
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 1, nodes: 2, set: ["log.level=trace"] });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

test("no log line at trace level has a password or a message's text", {
  timeout: 90_000,
  meta: { once: true },
}, async () => {
  const added = await cluster.cli(["user", "add", user, "--password", password]);
  expect(added).toMatchObject({ status: 0 });
  const { imap, imaps, pop3, submission, submissions } = cluster.gateway();

  const client = await ImapClient.connect(imap);
  await client.command(`LOGIN ${user} wrong-${password}`);
  await client.command(`LOGIN "${user}" "${password}`); // Not closed: a syntax error.
  await client.command("LOGIN ", Buffer.from(user), " ", Buffer.from(`${password}x`));
  await client.ok("LOGIN ", Buffer.from(user), " ", Buffer.from(password));
  await client.ok("APPEND INBOX ", Buffer.from(`Subject: x\r\n\r\n${text}\r\n`));
  await client.logout();
  const plain = Buffer.from(`\0${user}\0${password}`).toString("base64");
  const sasl = await ImapClient.connect(imap);
  await sasl.ok(`AUTHENTICATE PLAIN ${plain}`);
  await sasl.logout();

  const sender = await SmtpClient.connect(submission);
  expect(await sender.command("AUTH LOGIN")).toMatch(/^334/);
  expect(await sender.command(base64(user))).toMatch(/^334/);
  expect(await sender.command(base64(password))).toMatch(/^235/);
  const message = Buffer.from(`From: ${user}\r\nSubject: x\r\n\r\n${text}\r\n`);
  expect(await sender.deliver({ from: user, to: [user], message })).toMatchObject({
    kind: "accepted",
  });
  await sender.quit();
  const again = await SmtpClient.connect(submission);
  await again.command(`AUTH PLAIN ${base64(`\0${user}\0wrong-${password}`)}`);
  await again.command(`AUTH ${password}`);
  expect(await again.command(`AUTH PLAIN ${plain}`)).toMatch(/^235/);
  await again.quit();

  const reader = await LineClient.connect({ port: pop3 });
  await reader.readLine();
  for (const [line, answer] of [
    [`USER ${user}`, /^\+OK/],
    [`PASS wrong-${password}`, /^-ERR/],
    [`USER ${user}`, /^\+OK/],
    [`PASS ${password}`, /^\+OK/],
  ] as const) {
    reader.send(`${line}\r\n`);
    expect(await reader.readLine()).toMatch(answer);
  }
  reader.close();
  for (const port of [imaps, submissions]) {
    const secure = await LineClient.connect({ port, implicitTls: true });
    await secure.readLine();
    secure.send(`a LOGIN ${user} ${password}\r\n`);
    await secure.readLine();
    secure.close();
  }
  // Out of turn: a client that is one answer ahead, or on the wrong port.
  for (const port of [imap, submission, pop3]) {
    const lost = await LineClient.connect({ port });
    await lost.readLine();
    for (const line of [password, base64(password), `x ${password}`]) {
      lost.send(`${line}\r\n`);
      await lost.readLine();
    }
    lost.close();
  }
  const changed = { password: `${password}-changed` };
  await cluster.admin("PATCH", `/admin/v1/users/${user}`, changed);
  await cluster.cli(["user", "passwd", user, "--password", password]);
  await cluster.cli(["user", "import", "-"], JSON.stringify({ name: "c2@pabal.test", password }));
  await cluster.restart("n1");
  await cluster.restart("g1");
  const log = cluster.log();
  expect(log).toContain('"level":10'); // It was trace.
  for (const secret of [password, text, ...hidden(password), ...hidden(text)])
    expect(linesWith(log, secret)).toEqual([]);
});

function base64(value: string): string {
  return Buffer.from(value).toString("base64");
}

/** Base64 of the text at each of its three alignments, without the ends that depend on neighbours. */
function hidden(value: string): readonly string[] {
  return [0, 1, 2].map((shift) => base64(`${"\0".repeat(shift)}${value}`).slice(4, -4));
}

function linesWith(log: string, secret: string): readonly string[] {
  return log.split("\n").filter((line) => line.includes(secret));
}
