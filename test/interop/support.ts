// What the interop tests share: running a client program to its end, messages that are hard to carry,
// and reading a mailbox back as bytes. Each test file starts a cluster of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImapFlow } from "imapflow";
import { running, signalGroup } from "../support/processes.ts";

export interface Ran {
  /** Exit status; 137 when it had to be killed. */
  readonly status: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Default 20 s; then the program and its children are killed. */
  readonly withinMs?: number;
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const child = spawn(command, [...args], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  running.add(child);
  const out: Buffer[] = [];
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => {}); // It may end without reading.
  child.stdin.end(options.input ?? "");
  const late = setTimeout(() => signalGroup(child, "SIGKILL"), options.withinMs ?? 20_000);
  try {
    const status = await new Promise<number>((done, fail) => {
      child.once("error", fail);
      child.once("close", (code) => done(code ?? 137));
    });
    return { status, stdout: Buffer.concat(out), stderr };
  } finally {
    clearTimeout(late);
    running.delete(child);
  }
}

/** As {@link run}, for a program that must succeed. @throws Error with what it said. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await run(command, args, options);
  if (status === 0) return stdout.toString();
  throw new Error(`${command} ended with ${status}: ${stderr}${stdout.toString()}`);
}

/** A temporary folder for a client's files. */
export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), "pabal-interop-"));

  path(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  write(name: string, content: string | Uint8Array): string {
    const file = this.path(name);
    writeFileSync(file, content, { mode: 0o600 });
    return file;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A message's bytes: CRLF line ends, whatever the parts have. */
export function message(
  subject: string,
  lines: readonly string[],
  headers: readonly string[] = [],
) {
  return Buffer.from(
    [
      "From: Friend <friend@example.org>",
      "To: someone@pabal.test",
      `Subject: ${subject}`,
      "Date: Sun, 22 Nov 2026 09:00:00 +0900",
      `Message-ID: <${subject.replaceAll(/\W/g, "-")}@example.org>`,
      "MIME-Version: 1.0",
      ...headers,
      "",
      ...lines,
      "",
    ].join("\r\n"),
  );
}

/** Korean in UTF-8, lines that begin with dots, a line of only a dot, trailing blanks, a long line. */
export const awkward = message(
  "awkward body",
  [
    "안녕하세요, 파발입니다. 가나다라마바사 ㄱㄴㄷ 韓國 😀",
    ".a line that begins with a dot",
    "..two dots",
    ".",
    "trailing blanks   ",
    "",
    "From here on: mbox would quote this",
    "a long line ".repeat(70),
    "\ttab, and an equals sign = at the end =",
    "",
    "",
  ],
  ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"],
);

/** What was sent: the stored bytes without the Return-Path and Received fields on top. RFC 5321 §4.4 */
export function belowTrace(stored: Uint8Array): string {
  const text = Buffer.from(stored).toString("latin1");
  const cut = /^Return-Path: [^\r\n]*\r\nReceived: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/.exec(text);
  if (cut === null) throw new Error(`no trace fields on top of: ${text.slice(0, 300)}`);
  return Buffer.from(text.slice(cut[0].length), "latin1").toString();
}

/** Every message of a mailbox, in order, as bytes. Reads with ImapFlow. */
export async function readMailbox(
  port: number,
  user: string,
  mailbox = "INBOX",
): Promise<readonly Buffer[]> {
  const client = flow(port, user);
  await client.connect();
  try {
    await client.mailboxOpen(mailbox, { readOnly: true });
    const found: Buffer[] = [];
    for await (const { source } of client.fetch("1:*", { source: true })) {
      found.push(source ?? Buffer.alloc(0));
    }
    return found;
  } finally {
    await client.logout();
  }
}

/** An ImapFlow client over plaintext that is not connected yet. */
export function flow(port: number, user: string): ImapFlow {
  return new ImapFlow({
    host: "127.0.0.1",
    port,
    secure: false,
    doSTARTTLS: false,
    logger: false,
    auth: { user, pass: "secret" },
  });
}

/** One decoded part of a message in the selected mailbox. */
export async function downloadPart(client: ImapFlow, range: string, part: string): Promise<Buffer> {
  const { content } = await client.download(range, part);
  const chunks: Buffer[] = [];
  for await (const chunk of content ?? []) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
