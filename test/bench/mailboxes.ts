// Large mailboxes: what the commands that clients send at each start and for each message cost when
// there are a hundred thousand messages, or a million, and how long other sessions wait meanwhile.
// Filled by MULTIAPPEND, then everything is restarted, so that "first" is from disk.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { residentBytes, settled, totalCpuMs } from "./cpu.ts";
import { expectOk, type ImapAnswer, ImapClient } from "./imap-client.ts";
import { startPeers } from "./peers.ts";
import { type Figure, markdownTable, quantile } from "./report.ts";
import { startPabal, type Target } from "./target.ts";

export interface MailboxBenchOptions {
  readonly brief: boolean;
  readonly peers: boolean;
  /** A million messages, too. */
  readonly million: boolean;
}

const box = "large";
/** What takes peers minutes to fill. */
const peerMessagesMax = 100_000;
const lanes = 8;
const batchMessages = 20;
/** Index and pages are made in the background: they are waited for, but not for ever. */
const quietWithinMs = 1_200_000;
const mebibyte = 2 ** 20;

/** Runs it all. @returns the table as Markdown. */
export async function benchMailboxes(options: MailboxBenchOptions): Promise<string> {
  const sizes = options.brief ? [2000] : [100_000, ...(options.million ? [1_000_000] : [])];
  const columns: { name: string; figures: readonly Figure[] }[] = [];
  for (const messages of sizes) {
    columns.push({ name: `Pabal, ${count(messages)}`, figures: await ofPabal(messages, options) });
    if (!options.peers || messages > peerMessagesMax) continue;
    const [dovecot, postfix] = await startPeers();
    if (dovecot === undefined) continue;
    try {
      const figures = new Figures(dovecot.name);
      await fill(dovecot, messages, figures);
      await measure(dovecot, messages, options, figures);
      columns.push({ name: `${dovecot.name}, ${count(messages)}`, figures: figures.all });
    } finally {
      await dovecot.stop();
      await postfix?.stop();
    }
  }
  return markdownTable(columns);
}

class Figures {
  readonly all: Figure[] = [];

  constructor(name: string) {
    process.stdout.write(`\n${name}\n`);
  }

  add(figure: Figure): void {
    this.all.push(figure);
    const { scenario, value, unit, cpuMsPerOp, note } = figure;
    const cpu = cpuMsPerOp === undefined ? "" : `, ${cpuMsPerOp.toFixed(2)} ms CPU`;
    process.stdout.write(`  ${scenario}: ${value.toFixed(2)} ${unit}${cpu} (${note ?? ""})\n`);
  }
}

async function ofPabal(messages: number, options: MailboxBenchOptions): Promise<readonly Figure[]> {
  const data = mkdtempSync(join(tmpdir(), "pabal-bench-data-"));
  const start = (): Promise<Target> =>
    startPabal({ gateways: 1, nodes: 2, users: 2, data, set: ['cluster.link={"plaintext":true}'] });
  const figures = new Figures(`Pabal, ${count(messages)} messages`);
  try {
    const filled = await start();
    try {
      await fill(filled, messages, figures);
      await settled(filled, quietWithinMs);
    } finally {
      await filled.stop();
    }
    const started = performance.now();
    const target = await start();
    try {
      const seconds = (performance.now() - started) / 1000;
      figures.add({
        scenario: "start of the whole cluster on this data",
        unit: "s",
        value: seconds,
      });
      await measure(target, messages, options, figures);
    } finally {
      await target.stop();
    }
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
  return figures.all;
}

async function fill(target: Target, messages: number, figures: Figures): Promise<void> {
  const first = await login(target);
  await expectOk(first.command(`CREATE ${box}`));
  const clients = [
    first,
    ...(await Promise.all(Array.from({ length: lanes - 1 }, () => login(target)))),
  ];
  const [before, started] = [totalCpuMs(target), performance.now()];
  let next = 0;
  await Promise.all(
    clients.map(async (client) => {
      for (;;) {
        const from = next;
        if (from >= messages) return;
        next = Math.min(messages, from + batchMessages);
        const batch = Array.from({ length: next - from }, (_, at) => message(from + at));
        await expectOk(client.appendMany(box, batch));
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  for (const client of clients) client.close();
  figures.add({
    scenario: `filled by MULTIAPPEND, ${batchMessages} messages a command, ${lanes} connections`,
    unit: "/s",
    value: messages / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / messages,
  });
}

/** About 700 bytes; nine of ten are read, one in a thousand has a rare word, one in a hundred a rare subject. */
function message(at: number): { readonly flags: string; readonly bytes: Buffer } {
  const topic = at % 100 === 0 ? "quarterly" : (topics[at % topics.length] ?? "");
  const line = "The relay post rides on: horse after horse, station after station.\r\n";
  const text = [
    `From: "Sender ${at % 97}" <sender${at % 97}@example.org>`,
    "To: You <you@pabal.test>",
    `Subject: Report ${at} about the ${topic} post`,
    "Date: Sun, 22 Nov 2026 16:00:00 +0000",
    `Message-ID: <${at}@bench.test>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "",
    line.repeat(5) + (at % 1000 === 0 ? "Here is a needle.\r\n" : ""),
  ].join("\r\n");
  return { flags: at % 10 === 0 ? "()" : "(\\Seen)", bytes: Buffer.from(text) };
}

const topics = ["morning", "mountain", "river", "harbour", "palace", "northern", "evening"];

async function measure(
  target: Target,
  messages: number,
  options: MailboxBenchOptions,
  figures: Figures,
): Promise<void> {
  const client = await login(target);
  const other = await login(target);
  const third = await login(target);
  await expectOk(other.command("SELECT INBOX"));
  const bench: Bench = { target, client, other, figures, brief: options.brief };
  const select = await expectOk(client.command(`SELECT ${box} (CONDSTORE)`));
  figures.add({
    scenario: "SELECT, first",
    unit: "ms",
    value: select.ms,
    note: existsIn(select.tail),
  });
  await timed(bench, "SELECT again", () => client.command(`SELECT ${box} (CONDSTORE)`));
  await timed(bench, "UID FETCH 1:* (FLAGS)", () => client.command("UID FETCH 1:* (FLAGS)"));
  await timed(bench, "UID FETCH 1:* (FLAGS) (CHANGEDSINCE now)", () =>
    client.command(
      `UID FETCH 1:* (FLAGS) (CHANGEDSINCE ${numberIn(select.tail, "HIGHESTMODSEQ")})`,
    ),
  );
  const listing = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)";
  await timed(bench, "FETCH of the newest 50, listing", () =>
    client.command(`FETCH ${messages - 49}:* ${listing}`),
  );
  await timed(bench, "STATUS", () =>
    third.command(`STATUS ${box} (MESSAGES UIDNEXT UNSEEN HIGHESTMODSEQ)`),
  );
  await timed(bench, "SEARCH UNSEEN, a tenth", () => client.command("UID SEARCH UNSEEN"));
  await settled(target, quietWithinMs);
  await timed(bench, "SEARCH SUBJECT, one in a hundred", () =>
    client.command("UID SEARCH SUBJECT quarterly"),
  );
  await timed(bench, "SEARCH SUBJECT, all", () => client.command("UID SEARCH SUBJECT report"), 3);
  await timed(bench, "SEARCH TEXT, one in a thousand", () =>
    client.command("UID SEARCH TEXT needle"),
  );
  await changes(bench, messages);
  await resync(bench);
  const parts = target.name === "Pabal" ? ["g1", "n1", "n2"] : [""];
  for (const part of parts) {
    const value = residentBytes(target, part) / mebibyte;
    figures.add({
      scenario: `memory ${part === "" ? "in all" : `of ${part}`}`,
      unit: "MiB",
      value,
    });
  }
  client.close();
  other.close();
  third.close();
}

interface Bench {
  readonly target: Target;
  readonly client: ImapClient;
  /** Another session of the user, in another mailbox: on the same gateway and node. */
  readonly other: ImapClient;
  readonly figures: Figures;
  readonly brief: boolean;
}

/** Repeats a command for a second at least, alone, then a few times while the other session asks NOOP. */
async function timed(
  bench: Bench,
  scenario: string,
  run: (round: number) => Promise<ImapAnswer>,
  leastRounds = 10,
): Promise<void> {
  const { target, figures, brief } = bench;
  const first = await expectOk(run(0));
  const times: number[] = [];
  const before = totalCpuMs(target);
  const end = performance.now() + (brief ? 0 : 1000);
  for (let round = 1; times.length < leastRounds || performance.now() < end; round++) {
    times.push((await expectOk(run(round))).ms);
  }
  const cpu = (totalCpuMs(target) - before) / times.length;
  const waited = await longestWait(bench, async () => {
    for (let round = 0; round < 3; round++) await expectOk(run(times.length + 1 + round));
  });
  figures.add({
    scenario,
    unit: "ms",
    value: quantile(Float64Array.from(times).sort(), 0.5),
    cpuMsPerOp: cpu,
    note: `first ${first.ms.toFixed(1)} ms; another session waited ${waited.toFixed(1)} ms at most`,
  });
}

/** The longest NOOP of the other session while `work` runs. */
async function longestWait({ other }: Bench, work: () => Promise<void>): Promise<number> {
  let working = true;
  let longest = 0;
  const asking = (async () => {
    while (working) longest = Math.max(longest, (await expectOk(other.command("NOOP"))).ms);
  })();
  try {
    await work();
  } finally {
    working = false;
  }
  await asking;
  return longest;
}

async function changes(bench: Bench, messages: number): Promise<void> {
  const { client } = bench;
  const middle = Math.floor(messages / 2);
  await timed(bench, "STORE, one message", (round) =>
    client.command(`UID STORE ${middle} ${round % 2 === 0 ? "+" : "-"}FLAGS.SILENT (\\Flagged)`),
  );
  let uid = Math.floor(messages / 4);
  await expectOk(client.command(`UID STORE ${uid}:${uid + 999} +FLAGS.SILENT (\\Deleted)`));
  await timed(bench, "EXPUNGE, one message", () => client.command(`UID EXPUNGE ${uid++}`));
}

/** A hundred changes and ten expunges behind the back of a client, which then comes again. RFC 7162 §3.2.5 */
async function resync(bench: Bench): Promise<void> {
  const { target, client, figures, brief } = bench;
  const back = await login(target);
  await expectOk(back.command("ENABLE QRESYNC"));
  const times: number[] = [];
  let cpu = 0;
  for (let round = 0; round < (brief ? 2 : 10); round++) {
    const { tail } = await expectOk(back.command(`SELECT ${box}`));
    await expectOk(back.command("UNSELECT"));
    const from = 1 + round * 200;
    for (let at = 0; at < 100; at++) {
      await expectOk(client.command(`UID STORE ${from + at} +FLAGS.SILENT (\\Answered)`));
    }
    await expectOk(
      client.command(`UID STORE ${from + 150}:${from + 159} +FLAGS.SILENT (\\Deleted)`),
    );
    await expectOk(client.command(`UID EXPUNGE ${from + 150}:${from + 159}`));
    const known = `${numberIn(tail, "UIDVALIDITY")} ${numberIn(tail, "HIGHESTMODSEQ")}`;
    const before = totalCpuMs(target);
    times.push((await expectOk(back.command(`SELECT ${box} (QRESYNC (${known}))`))).ms);
    cpu += totalCpuMs(target) - before;
  }
  figures.add({
    scenario: "SELECT (QRESYNC …) behind 100 changes and 10 expunges",
    unit: "ms",
    value: quantile(Float64Array.from(times).sort(), 0.5),
    cpuMsPerOp: cpu / times.length,
    note: `first ${(times[0] ?? 0).toFixed(1)} ms`,
  });
  back.close();
}

async function login(target: Target): Promise<ImapClient> {
  const client = await ImapClient.open(target.imap ?? 0);
  await expectOk(client.command(`LOGIN ${target.users[0]} ${target.password}`));
  return client;
}

function numberIn(answer: string, name: string): string {
  const found = new RegExp(`${name} (\\d+)`).exec(answer)?.[1];
  if (found === undefined) throw new Error(`no ${name} in ${answer}`);
  return found;
}

function existsIn(answer: string): string {
  return /\d+ EXISTS/.exec(answer)?.[0] ?? "";
}

function count(messages: number): string {
  return messages.toLocaleString("en-US");
}
