// SORT, THREAD and SEARCH answer what Dovecot answers, on random mail: subjects of every form, dates
// in several zones or none, references with gaps and loops, repeated ids. Dovecot runs as a program
// that speaks IMAP on its standard input.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startImap } from "../../src/gateway/imap/listener.ts";
import type { Listener } from "../../src/gateway/services.ts";
import { SeededRandom } from "../../src/lib/random.ts";
import { LineClient } from "../support/line-client.ts";
import { localServices } from "../support/local-services.ts";
import type { LocalServices } from "../support/local-services.ts";
import { addMessage } from "../unit/imap/support.ts";

const messageCount = 100;
const subjects = [
  "topic",
  "Re: topic",
  "Fwd: topic",
  "[list] Re: topic",
  "TOPIC (fwd)",
  "[fwd: topic]",
  "other",
  "re[2]: other",
  "",
  "Re:",
  "=?utf-8?q?=C3=A9t=C3=A9?=",
  "=?utf-8?b?7ZWc6riA?=",
  "Re: =?utf-8?b?7ZWc6riA?=",
  "[a] [b]",
  "[a] [b] x",
  "Zeta",
  "zeta",
  "alpha  beta",
];
const people = [
  "Ann <ann@x.test>",
  "bob@x.test",
  '"Zed" <ALF@x.test>',
  "=?utf-8?b?6rmA?= <kim@x.test>",
  "B B <b@y.test>",
  '"alf" <zz@x.test>',
];
const sortKeys = "ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO".split(" ");
const commands = [
  ...sortKeys.map((key) => `SORT (${key}) UTF-8 ALL`),
  ...sortKeys.map((key) => `SORT (REVERSE ${key} DATE) UTF-8 SMALLER 300`),
  ...["ALL", "SMALLER 300", "SUBJECT topic", "LARGER 200"].flatMap((key) => [
    `THREAD REFERENCES UTF-8 ${key}`,
    `UID THREAD ORDEREDSUBJECT UTF-8 ${key}`,
  ]),
  "SEARCH SENTON 5-Mar-2026",
  "SEARCH SENTSINCE 15-Mar-2026",
  'SEARCH HEADER Cc ""',
  'SEARCH NOT HEADER Message-Id ""',
  "SEARCH OR TEXT zed NOT SUBJECT topic",
];

const isRoot = process.getuid?.() === 0;
const owner = ["-u", "-g"].map((flag) =>
  execFileSync("id", isRoot ? [flag, "nobody"] : [flag], { encoding: "utf8" }).trim(),
);
let folder = "";
let local: LocalServices;
let listener: Listener;
let client: LineClient;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pabal-dovecot-"));
  for (const name of ["cur", "new", "tmp"])
    mkdirSync(join(folder, "mail", name), { recursive: true });
  const random = new SeededRandom(20_260_301);
  local = await localServices();
  for (let at = 0; at < messageCount; at++) {
    const text = anyMessage(random);
    const receivedAt = 1_700_000_000 + below(random, 60) * 1000;
    const path = join(folder, "mail", "cur", `${1_700_000_000 + at}.M${at}.host:2,`);
    writeFileSync(path, text);
    utimesSync(path, receivedAt, receivedAt);
    await addMessage(local.services, local.who, "INBOX", text, [], receivedAt * 1000);
  }
  // As root Dovecot reads mail for others only.
  const [uid, gid] = owner;
  const lines = { mail_location: `maildir:${folder}/mail`, ssl: "no", base_dir: `${folder}/run` };
  const rest = { log_path: `${folder}/log`, mail_uid: uid, mail_gid: gid };
  const limits = { first_valid_uid: "0", first_valid_gid: "0" };
  writeFileSync(
    join(folder, "dovecot.conf"),
    Object.entries({ ...lines, ...rest, ...limits })
      .map(([key, value]) => `${key} = ${value}\n`)
      .join(""),
  );
  if (isRoot) execFileSync("chown", ["-R", "nobody", folder]);
  chmodSync(folder, 0o755);
  listener = await startImap({
    services: local.services,
    address: "127.0.0.1",
    port: 0,
    implicitTls: false,
  });
  client = await LineClient.connect({ port: listener.port });
  await answer("LOGIN u1 secret");
  await answer("SELECT INBOX");
});
afterAll(async () => {
  client.close();
  await listener.close(AbortSignal.abort());
  await local.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("the same as Dovecot", () => {
  test.each(commands)("%s", async (command) => {
    const theirs = dovecotAnswer(command);
    expect(theirs).toMatch(/^\* (SORT|THREAD|SEARCH)/);
    expect(await answer(command)).toBe(theirs);
  });
});

/** The untagged line of our answer. */
async function answer(command: string): Promise<string> {
  client.send(`t ${command}\r\n`);
  let found = "";
  for (;;) {
    const line = await client.readLine();
    if (line.startsWith("t ")) return found;
    if (/^\* (SORT|THREAD|SEARCH)/.test(line)) found = line;
  }
}

function dovecotAnswer(command: string): string {
  const program = ["/usr/lib/dovecot/imap", "-c", join(folder, "dovecot.conf")];
  const [uid, gid] = owner;
  const asNobody = isRoot ? ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] : [];
  const [file = "", ...args] = [...asNobody, ...program];
  const { stdout, stderr } = spawnSync(file, args, {
    input: `a SELECT INBOX\r\nb ${command}\r\nc LOGOUT\r\n`,
    env: { PATH: process.env["PATH"], USER: "u1", HOME: folder },
    encoding: "utf8",
    timeout: 20_000,
  });
  return (
    stdout.split("\r\n").find((line) => /^\* (SORT|THREAD|SEARCH)/.test(line)) ?? stdout + stderr
  );
}

function anyMessage(random: SeededRandom): string {
  const one = (list: readonly string[]): string => list[below(random, list.length)] ?? "";
  const chance = (percent: number): boolean => below(random, 100) < percent;
  const id = (): string => `<m${below(random, 120)}@x.test>`;
  const two = (most: number): string => String(below(random, most)).padStart(2, "0");
  const lines: string[] = [];
  if (chance(90)) {
    const clock = `${two(24)}:${two(60)}:${two(60)} ${one(["+0000", "-0800", "+0900"])}`;
    lines.push(`Date: ${1 + below(random, 27)} Mar 2026 ${clock}`);
  }
  if (chance(95)) lines.push(`From: ${one(people)}`);
  if (chance(80)) lines.push(`To: ${one(people)}, ${one(people)}`);
  if (chance(30)) lines.push(`Cc: ${one(people)}`);
  if (chance(95)) lines.push(`Subject: ${one(subjects)}`);
  if (chance(95)) lines.push(`Message-ID: ${id()}`);
  if (chance(50)) lines.push(`References: ${id()} ${id()}${chance(50) ? ` ${id()}` : ""}`);
  if (chance(30)) lines.push(`In-Reply-To: ${id()}`);
  return [...lines, "", "x".repeat(below(random, 500)), ""].join("\r\n");
}

function below(random: SeededRandom, count: number): number {
  return random.u32() % count;
}
