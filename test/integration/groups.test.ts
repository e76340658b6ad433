// Announcements against a running cluster: one message, in every member's mailbox, with each member's
// own state; posting, hiding, leaving, recall and expiry while sessions are open; failover between.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { LineClient } from "../support/line-client.ts";
import { until } from "../support/processes.ts";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 4, nodes: 3 });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

/** Runs a command that must succeed; returns its JSON. */
async function ok(args: readonly string[], input = ""): Promise<unknown> {
  const { status, stdout, stderr } = await cluster.cli([...args, "--json"], input);
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  return JSON.parse(stdout);
}

async function send(text: string, ...options: readonly string[]): Promise<string> {
  const { id } = (await ok(["announce", "send", "-", ...options], text)) as { id: string };
  return id;
}

function login(user: string, gateway = "g1"): Promise<ImapClient> {
  const { password } = cluster.ports;
  return ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
}

function textOf(reply: { readonly untagged: readonly { readonly text: string }[] }): string {
  return reply.untagged.map(({ text }) => text).join("\n");
}

test("a message to all is in everyone's folder, read by each alone", async () => {
  const before = await login("u1");
  expect(await send("The canteen is closed.\n", "--subject", "Canteen")).toBe("1");
  const u1 = await login("u1");
  const u2 = await login("u2", "g2");
  const listed = textOf(await u1.ok('LIST "" "*"'));
  expect(listed).toMatch(/\* LIST \(.*\\Noselect.*\) "\/" "Announcements"/);
  expect(listed).toMatch(/\* LIST \([^)]*\) "\/" "Announcements\/all"/);
  expect(textOf(await u1.ok('LSUB "" "*"'))).toContain("Announcements/all");
  expect(textOf(await u2.ok("STATUS Announcements/all (MESSAGES UNSEEN)"))).toContain(
    "(MESSAGES 1 UNSEEN 1)",
  );
  const opened = textOf(await u1.ok("SELECT Announcements/all"));
  expect(opened).toContain("* 1 EXISTS");
  const fetched = await u1.ok("FETCH 1 (UID FLAGS RFC822.SIZE BODY[])");
  const [line] = fetched.untagged;
  expect(line?.literals[0]?.toString()).toContain("The canteen is closed.");
  expect(line?.text).toContain(`RFC822.SIZE ${line?.literals[0]?.length}`);
  expect(textOf(await u1.ok("FETCH 1 FLAGS"))).toContain("\\Seen");
  await u1.ok("STORE 1 +FLAGS (\\Flagged $Later)");
  await u2.ok("SELECT Announcements/all");
  const other = textOf(await u2.ok("FETCH 1 FLAGS"));
  expect(other).toContain("FLAGS ()");
  expect(textOf(await u2.ok("SEARCH UNSEEN"))).toContain("* SEARCH 1");
  expect(textOf(await u1.ok("SEARCH UNSEEN"))).toMatch(/\* SEARCH$/m);
  expect(textOf(await u1.ok("SEARCH SUBJECT canteen FLAGGED"))).toContain("* SEARCH 1");
  expect(textOf(await before.ok("STATUS Announcements/all (UNSEEN)"))).toContain("UNSEEN 0");
  for (const client of [before, u1, u2]) await client.logout();
});

/** Submits a message as a user; returns the replies to RCPT and to the end of the data. */
async function submit(
  user: string,
  to: string,
  text: string,
): Promise<{ readonly rcpt: string; readonly data: string }> {
  const port = cluster.gateway("g2").submission;
  const client = await LineClient.connect({ port, timeoutMs: 20_000 });
  await client.readLine();
  const secret = Buffer.from(`\0${user}\0${cluster.ports.password}`).toString("base64");
  const ask = async (command: string): Promise<string> => {
    client.send(`${command}\r\n`);
    let line = await client.readLine();
    while (line[3] === "-") line = await client.readLine();
    return line;
  };
  await ask("EHLO client.test");
  expect(await ask(`AUTH PLAIN ${secret}`)).toMatch(/^235/);
  expect(await ask(`MAIL FROM:<${user}>`)).toMatch(/^250/);
  const rcpt = await ask(`RCPT TO:<${to}>`);
  let data = "";
  if (rcpt.startsWith("250")) {
    expect(await ask("DATA")).toMatch(/^354/);
    data = await ask(`From: <${user}>\r\nSubject: ${text}\r\n\r\n${text}\r\n.`);
  }
  await ask("QUIT");
  client.close();
  return { rcpt, data };
}

test("only who logged in and may post writes to a group", async () => {
  await ok(["group", "create", "news", "--join", "open", "--poster", "u1@pabal.test"]);
  await ok(["group", "join", "news", "u1@pabal.test", "u2@pabal.test"]);
  expect((await submit("u3@pabal.test", "news@pabal.test", "spam")).rcpt).toMatch(/^550 5\.7\.1/);
  expect((await submit("u2@pabal.test", "news@pabal.test", "spam")).rcpt).toMatch(/^550 5\.7\.1/);
  const { rcpt, data } = await submit("u1@pabal.test", "news@pabal.test", "first");
  expect({ rcpt, data }).toEqual({
    rcpt: expect.stringMatching(/^250/) as string,
    data: expect.stringMatching(/^250/) as string,
  });
  // Port 25 has no logins.
  const relay = await LineClient.connect({ port: cluster.gateway("g1").smtp });
  await relay.readLine();
  relay.send("HELO x\r\nMAIL FROM:<u1@pabal.test>\r\nRCPT TO:<news@pabal.test>\r\n");
  const replies = [await relay.readLine(), await relay.readLine(), await relay.readLine()];
  expect(replies[2]).toMatch(/^550 5\.7\.1/);
  relay.close();

  const u2 = await login("u2");
  const opened = textOf(await u2.ok("SELECT Announcements/news"));
  expect(opened).toContain("* 1 EXISTS");
  const { untagged } = await u2.ok("FETCH 1 BODY.PEEK[HEADER]");
  const header = untagged[0]?.literals[0]?.toString() ?? "";
  expect(header).toContain("List-Id: <news.pabal.test>\r\n");
  expect(header).toContain("List-Unsubscribe: <mailto:news+unsubscribe@pabal.test>\r\n");
  // Who is no member sees nothing of it.
  const u3 = await login("u3", "g2");
  expect(textOf(await u3.ok('LIST "" "*"'))).not.toContain("news");
  expect((await u3.command("SELECT Announcements/news")).text).toContain("[NONEXISTENT]");
  expect((await u3.command("STATUS Announcements/news (MESSAGES)")).status).toBe("NO");
  await u2.logout();
  await u3.logout();
});

test("leaving by mail ends the view at once, in open sessions too", async () => {
  const u2 = await login("u2");
  const there = await login("u2", "g2");
  await u2.ok("SELECT Announcements/news");
  await there.ok("SELECT Announcements/news");
  await there.ok("NOOP");
  await u2.ok("NOOP");
  const { data } = await submit("u2@pabal.test", "news+unsubscribe@pabal.test", "bye");
  expect(data).toMatch(/^250/);
  for (const client of [u2, there]) {
    // Acknowledged: from now on nothing is shown, whatever had been open.
    const reply = await client.command("UID FETCH 1:* BODY.PEEK[]").catch(() => undefined);
    expect(reply?.untagged.filter(({ literals }) => literals.length > 0) ?? []).toEqual([]);
    client.close();
  }
  const again = await login("u2", "g2");
  expect(textOf(await again.ok('LIST "" "*"'))).not.toContain("news");
  const back = await submit("u2@pabal.test", "news+subscribe@pabal.test", "hello");
  expect(back.data).toMatch(/^250/);
  expect(textOf(await again.ok('LIST "" "*"'))).toContain("Announcements/news");
  await again.logout();
});

test("hiding is for one member; nothing can be put into a group's folder", async () => {
  const u1 = await login("u1");
  const u3 = await login("u3", "g2");
  await send("to be hidden", "--subject", "hidden");
  await u1.ok("SELECT Announcements/all");
  const before = textOf(await u1.ok("STATUS Announcements/all (MESSAGES UNSEEN HIGHESTMODSEQ)"));
  await u1.ok("UID STORE 2 +FLAGS (\\Deleted)");
  const gone = textOf(await u1.ok("EXPUNGE"));
  expect(gone).toMatch(/\* \d+ EXPUNGE/);
  const after = textOf(await u1.ok("STATUS Announcements/all (MESSAGES UNSEEN HIGHESTMODSEQ)"));
  expect(modSeqIn(after)).toBeGreaterThan(modSeqIn(before));
  await u3.ok("SELECT Announcements/all");
  expect(textOf(await u3.ok("UID SEARCH SUBJECT hidden"))).toContain("* SEARCH 2");
  for (const command of [
    "RENAME Announcements/all other",
    "UID COPY 1 Announcements/all",
    "DELETE Announcements/all",
  ]) {
    const { status, text } = await u3.command(command);
    expect(`${command}: ${status} ${text}`).toContain("NO [NOPERM]");
  }
  // Refused, it leaves the folder selected.
  await u3.ok("CHECK");
  const appended = await u3.command(
    "APPEND Announcements/all ",
    Buffer.from("Subject: x\r\n\r\nx\r\n"),
  );
  expect(appended.text).toContain("[NOPERM]");
  // A copy is the member's own.
  await u3.ok("SELECT Announcements/all");
  const copied = await u3.ok("UID COPY 2 INBOX");
  expect(copied.text).toContain("COPYUID");
  expect((await u3.ok("UID MOVE 2 INBOX")).untagged.map(({ text }) => text).join()).toContain(
    "COPYUID",
  );
  expect(textOf(await u3.ok("STATUS INBOX (MESSAGES)"))).toContain("MESSAGES 2");
  expect(textOf(await u3.ok("UID SEARCH ALL"))).not.toMatch(/ 2\b/);
  await u1.logout();
  await u3.logout();
});

function modSeqIn(text: string): number {
  return Number(/HIGHESTMODSEQ (\d+)/.exec(text)?.[1]);
}

test("QRESYNC in a view tells what a member and what the group changed", async () => {
  const u4 = await login("u4");
  await u4.ok("ENABLE QRESYNC");
  const opened = textOf(await u4.ok("SELECT Announcements/all (CONDSTORE)"));
  const validity = /UIDVALIDITY (\d+)/.exec(opened)?.[1];
  const modSeq = modSeqIn(opened);
  await u4.ok("UID STORE 1 +FLAGS (\\Seen)");
  await u4.ok("UNSELECT");
  await send("while away", "--subject", "away");
  const other = await login("u4", "g2");
  await other.ok("SELECT Announcements/all");
  await other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)");
  await other.ok("EXPUNGE");
  await other.logout();
  const back = textOf(
    await u4.ok(`SELECT Announcements/all (QRESYNC (${validity} ${modSeq} 1:2))`),
  );
  expect(back).toMatch(/VANISHED \(EARLIER\) 2/);
  expect(back).toMatch(/FETCH \(UID 1 [^\r\n]*\\Seen/);
  expect(back).toContain("* 2 EXISTS");
  const seen = await u4.command(`UID STORE 1 (UNCHANGEDSINCE ${modSeq}) +FLAGS (\\Flagged)`);
  expect(seen.text).toContain("MODIFIED 1");
  await u4.logout();
});

test("a recall takes the message away while folders are open", async () => {
  const u1 = await login("u1");
  const u2 = await login("u2", "g2");
  const id = await send("a mistake", "--subject", "mistake");
  for (const client of [u1, u2]) {
    await client.ok("SELECT Announcements/all");
    await client.ok("NOOP");
  }
  await u1.idle();
  await ok(["announce", "recall", id]);
  // Acknowledged: nobody is shown it any more.
  const { untagged } = await u2.ok(`UID FETCH ${id} BODY.PEEK[]`);
  expect(untagged.filter(({ literals }) => literals.length > 0)).toEqual([]);
  await u1.untilLine(/EXPUNGE|VANISHED/, 10_000);
  await u1.done();
  const listed = (await ok(["announce", "list"])) as { id: string }[];
  expect(listed.map((one) => one.id)).not.toContain(id);
  await u1.logout();
  await u2.logout();
});

test("messages expire, and come when their time has come", async () => {
  const u1 = await login("u1");
  await u1.ok("SELECT Announcements/all");
  await u1.idle();
  const soon = new Date(Date.now() + 3000).toISOString();
  const id = await send("later", "--subject", "later", "--at", soon, "--expires", "4s");
  expect(id).toBe("s1");
  await u1.untilLine(/EXISTS/, 20_000);
  await u1.untilLine(/EXPUNGE|VANISHED/, 20_000);
  await u1.done();
  await u1.logout();
});

test("POP3 has the group's messages behind INBOX; DELE hides them for this user", async () => {
  await send("for pop", "--subject", "for pop");
  const ask = async (client: LineClient, command: string): Promise<string> => {
    client.send(`${command}\r\n`);
    return client.readLine();
  };
  const list = async (client: LineClient, command: string): Promise<readonly string[]> => {
    expect(await ask(client, command)).toMatch(/^\+OK/);
    const lines: string[] = [];
    for (let line = await client.readLine(); line !== "."; line = await client.readLine())
      lines.push(line);
    return lines;
  };
  const open = async (gateway: string): Promise<LineClient> => {
    const client = await LineClient.connect({ port: cluster.gateway(gateway).pop3 });
    await client.readLine();
    await ask(client, "USER u4");
    expect(await ask(client, `PASS ${cluster.ports.password}`)).toMatch(/^\+OK/);
    return client;
  };
  const first = await open("g1");
  const ids = await list(first, "UIDL");
  const last = ids.at(-1) ?? "";
  expect(last).toMatch(/^\d+ g\d+\.\d+\.\d+$/);
  const [number] = last.split(" ");
  expect((await list(first, `RETR ${number}`)).join("\n")).toContain("for pop");
  await ask(first, `DELE ${number}`);
  expect(await ask(first, "QUIT")).toMatch(/^\+OK/);
  const second = await open("g2");
  expect(await list(second, "UIDL")).toEqual(ids.slice(0, -1));
  await ask(second, "QUIT");
  const u3 = await login("u3");
  await u3.ok("SELECT Announcements/all");
  expect(textOf(await u3.ok('SEARCH SUBJECT "for pop"'))).toMatch(/SEARCH \d/);
  await u3.logout();
});

test("statistics are numbers", async () => {
  const stats = (await ok(["announce", "stats"])) as {
    subject: string;
    members: number;
    read: number;
    hidden: number;
  }[];
  const canteen = stats.find(({ subject }) => subject === "Canteen");
  expect(canteen).toMatchObject({ members: 4, hidden: 0 });
  expect(canteen?.read).toBeGreaterThanOrEqual(1);
  expect(await ok(["group", "show", "all"])).toMatchObject({ everyone: true, members: 4 });
});

test("a new user is a member of all at once", async () => {
  await ok(["user", "add", "new@pabal.test", "--password", cluster.ports.password]);
  const client = await login("new@pabal.test", "g2");
  expect(textOf(await client.ok("STATUS Announcements/all (MESSAGES)"))).toMatch(/MESSAGES [1-9]/);
  await client.logout();
});

test("when the group's node dies, posts and reads go on, and nothing is doubled", async () => {
  const { account, shard } = (await ok(["group", "show", "news"])) as {
    account: number;
    shard: number;
  };
  expect(account).toBeGreaterThan(0);
  await cluster.settled();
  const u1 = await login("u1");
  await u1.ok("SELECT Announcements/news");
  await u1.ok("UID STORE 1 +FLAGS ($Kept)");
  const primary = (await cluster.shards()).find((each) => each.shard === shard)?.primary.node ?? "";
  const ids = Array.from({ length: 6 }, (_, at) => `${at}`.padStart(32, "0"));
  const posts = ids.map((id) =>
    send(`post ${id}`, "--group", "news", "--subject", `post-${id}`, "--id", id),
  );
  await cluster.kill(primary);
  await Promise.all(posts);
  // Asked again: found, not posted twice.
  await send(
    `post ${ids[0]}`,
    "--group",
    "news",
    "--subject",
    `post-${ids[0]}`,
    "--id",
    ids[0] ?? "",
  );
  await until("all posts in the open folder", 20_000, async () => {
    const found = textOf(await u1.ok("UID SEARCH SUBJECT post-"));
    return found.trim().split(" ").length - 2 === ids.length ? true : undefined;
  });
  expect(textOf(await u1.ok("UID FETCH 1 FLAGS"))).toContain("$Kept");
  await u1.logout();
  await cluster.settled();
}, 120_000);
