// Announcements against a running cluster: one message, in every member's mailbox, with each member's
// own state; posting, hiding, leaving, recall and expiry while sessions are open; failover between.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";

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
