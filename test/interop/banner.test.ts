// What `pabal dev` prints to try: each line is taken from its output and run as it stands, as a
// newcomer would who copies it into a second terminal.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { isAlive, root, until } from "../support/processes.ts";
import { mustRun, readMailbox, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;
/** Printed lines, without comments and blank ones. */
let lines: string[];

beforeAll(async () => {
  scratch = new Scratch();
  // A path that a shell would take apart.
  cluster = await DevCluster.start({ users: 3, data: scratch.path("my mail's data") });
  const text = await until(
    "the printed lines",
    10_000,
    () => /^Try it:\n([^]*)^Ctrl-C stops everything\.$/m.exec(cluster.log())?.[1],
  );
  lines = text.split("\n").flatMap((line) => /^ {2}([^#\s].*)$/.exec(line)?.[1] ?? []);
});
afterAll(async () => {
  await cluster.destroy();
  scratch.remove();
});

/** The next line, which must begin so; runs it in a shell in the clone. */
async function runNext(begin: string, input = ""): Promise<string> {
  return shell(next(begin), input);
}

function next(begin: string): string {
  const line = lines.shift() ?? "";
  expect(line.slice(0, begin.length)).toBe(begin);
  return line;
}

async function shell(line: string, input = ""): Promise<string> {
  // Each test cluster has its own temporary folder, where the command line finds it.
  const env = { TMPDIR: cluster.folder };
  return mustRun("sh", ["-c", line], { input, env, cwd: root, withinMs: 40_000 });
}

describe("the lines that pabal dev prints, in order", () => {
  let delivery = "";

  test("swaks delivers a message", async () => {
    delivery = lines[0] ?? "";
    expect(await runNext("swaks --server")).toMatch(/<- +250 2\.0\.0 Stored/);
  });

  test("curl reads it through the other gateway by IMAP and by POP3", async () => {
    const [bytes] = await readMailbox(cluster.gateway("g1").imap, "u1");
    expect(await runNext("curl -s --user u1:secret 'imap://")).toBe(bytes?.toString());
    expect(await runNext("curl -s --user u1:secret pop3://")).toBe(bytes?.toString());
    expect(bytes?.toString()).toContain("\r\nSubject: hello\r\n");
  });

  test("swaks sends as a user over TLS", async () => {
    expect(await runNext("swaks --server")).toMatch(/<~ +250 2\.0\.0 .*Stored/);
    expect(await readMailbox(cluster.gateway("g2").imap, "u1")).toHaveLength(2);
  });

  test("openssl talks IMAP, and the certificate verifies", async () => {
    const line = next("openssl s_client");
    const login = next("a login u1 secret");
    const text = await shell(`${line} 2>&1`, `${login}\nb status inbox (messages)\nc logout\n`);
    expect(text).not.toContain("verify error");
    expect(text).toContain("verify return:1");
    expect(text).toMatch(/^a OK [^]*^\* STATUS "?INBOX"? \(MESSAGES 2\)\r[^]*^c OK /im);
  });

  test("mbsync copies the mailbox to a Maildir", async () => {
    await runNext("mbsync");
    const inbox = join(cluster.data, "maildir", "INBOX");
    // curl has read the first one.
    expect(readdirSync(join(inbox, "cur"))).toHaveLength(1);
    expect(readdirSync(join(inbox, "new"))).toHaveLength(1);
    expect(existsSync(join(cluster.data, "maildir", "Sent"))).toBe(true);
  });

  test("cluster status shows the members and goes on watching", async () => {
    // It never ends by itself; a person's Ctrl-C comes from timeout here.
    const line = next("npx --no-install pabal cluster status --watch");
    const text = await shell(`timeout -s INT -k 5 8 ${line} || [ $? = 124 ]`);
    const ids = [...text.matchAll(/^(\w+) +(?:coordinator|gateway|node) +up/gm)].map(
      ([, id]) => id,
    );
    expect(ids.slice(0, 6)).toEqual(["c1", "g1", "g2", "n1", "n2", "n3"]);
  });

  test("user add makes a user who can read mail", async () => {
    await runNext("npx --no-install pabal user add new@pabal.test");
    const bytes = await readMailbox(cluster.gateway("g2").imap, "new@pabal.test");
    expect(bytes).toEqual([]);
  });

  test("mail goes on after a node was killed and started again", async () => {
    const before = cluster.node("n1").pid;
    await runNext("kill -9");
    await until("the end of n1", 5000, () => (isAlive(before) ? undefined : true));
    await until("a new n1", 15_000, () => (isAlive(cluster.node("n1").pid) ? true : undefined));
    await cluster.settled();
    expect(await shell(delivery)).toMatch(/<- +250 2\.0\.0 Stored/);
    expect(await readMailbox(cluster.gateway("g2").imap, "u1")).toHaveLength(3);
  });

  test("every printed line was run", () => {
    expect(lines).toEqual([]);
  });
});
