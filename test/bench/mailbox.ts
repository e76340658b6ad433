// A mailbox of its own, filled by APPEND, and the commands that clients use most on it. Each command
// runs for a while before it is measured: peers' programs are compiled, ours is once it has run.

import { setTimeout as wait } from "node:timers/promises";
import { settled, totalCpuMs } from "./cpu.ts";
import { expectOk, ImapClient, type ImapAnswer } from "./imap-client.ts";
import { type Figure, quantile } from "./report.ts";
import type { BenchSize } from "./size.ts";
import { messageBody } from "./smtp-load.ts";
import type { Target } from "./target.ts";

interface Bench {
  readonly target: Target;
  readonly client: ImapClient;
  readonly size: BenchSize;
  readonly add: (figure: Figure) => void;
}

interface Repeated {
  readonly scenario: string;
  readonly command: string;
  readonly rounds: number;
}

const quietWithinMs = 300_000;
/** MOVE and EXPUNGE are measured with so many messages. */
const movedMessages = 1000;
/** Nothing of the command before is under way any more. */
const pauseMs = 200;

/** Measures what `size.only` wants of it. */
export async function mailbox(
  target: Target,
  port: number,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  const n = size.messages;
  const client = await ImapClient.open(port);
  const bench: Bench = { target, client, size, add };
  const wanted = stepsOf(n).filter(([scenario]) => size.only.test(scenario));
  const append = "APPEND, 8 connections, 4 KiB";
  if (wanted.length > 0 || size.only.test(append)) {
    await expectOk(client.command(`LOGIN ${target.users[0]} ${target.password}`));
    await expectOk(client.command("CREATE bench"));
    await fill(bench, append);
    // The full-text index of all that was delivered before is built in the background.
    await settled(target, quietWithinMs);
    await expectOk(client.command("SELECT bench"));
    for (const [scenario, run] of wanted) await run(bench, scenario);
  }
  client.close();
}

type Step = readonly [string, (bench: Bench, scenario: string) => Promise<void>];

function stepsOf(n: number): readonly Step[] {
  const listing = "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE)";
  return [
    repeated(`SELECT again, ${n} messages`, "SELECT bench", 20),
    repeated(`UID FETCH 1:* (FLAGS), ${n}`, "UID FETCH 1:* (FLAGS)", 10),
    repeated(`FETCH listing, ${n}`, listing, 5),
    [`bodies of ${n} × 4 KiB in one command`, bodies],
    repeated("one body a command", "UID FETCH 5 (BODY.PEEK[])", 500),
    repeated(`SEARCH SUBJECT, ${n}`, 'UID SEARCH SUBJECT "no such subject"', 5),
    repeated(`SEARCH BODY, ${n}`, 'UID SEARCH BODY "no such text"', 3),
    ["STORE, one message", flags],
    [`MOVE ${movedMessages}`, moves],
    [`EXPUNGE ${movedMessages}`, expunges],
  ];
}

/** A command that may be asked again and again. */
function repeated(scenario: string, command: string, rounds: number): Step {
  return [scenario, (bench) => repeat(bench, { scenario, command, rounds })];
}

async function fill({ target, client, size, add }: Bench, scenario: string): Promise<void> {
  const message = Buffer.concat([Buffer.from("Subject: appended\r\n"), messageBody(4096)]);
  const [before, started] = [totalCpuMs(target), performance.now()];
  const lanes = 8;
  const helpers = await Promise.all(
    Array.from({ length: lanes - 1 }, () => ImapClient.open(target.imap ?? 0)),
  );
  for (const helper of helpers)
    await expectOk(helper.command(`LOGIN ${target.users[0]} ${target.password}`));
  let left = size.messages;
  await Promise.all(
    [client, ...helpers].map(async (lane) => {
      while (left-- > 0) await expectOk(lane.append("bench", message));
    }),
  );
  for (const helper of helpers) helper.close();
  const seconds = (performance.now() - started) / 1000;
  add({
    scenario,
    unit: "/s",
    value: size.messages / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / size.messages,
  });
}

async function repeat(
  { target, client, size, add }: Bench,
  { scenario, command, rounds }: Repeated,
): Promise<void> {
  const first = await expectOk(client.command(command));
  await warm(size, () => expectOk(client.command(command)));
  const before = totalCpuMs(target);
  const times: number[] = [];
  const end = performance.now() + leastMs(size);
  while (times.length < rounds || performance.now() < end)
    times.push((await expectOk(client.command(command))).ms);
  add({
    scenario,
    unit: "ms",
    value: median(times),
    cpuMsPerOp: (totalCpuMs(target) - before) / times.length,
    note: `first ${first.ms.toFixed(1)} ms, ${(first.bytes / 1e6).toFixed(1)} MB`,
  });
}

async function bodies({ client, add }: Bench, scenario: string): Promise<void> {
  const rates: number[] = [];
  for (let i = 0; i < 5; i++) {
    const { bytes, ms } = await expectOk(client.command("UID FETCH 1:* (BODY.PEEK[])"));
    rates.push(bytes / 1000 / ms);
  }
  add({ scenario, unit: "MB/s", value: Math.max(...rates) });
}

/** Each command changes something: every message in turn gets the flag, then each loses it. */
async function flags({ target, client, size, add }: Bench, scenario: string): Promise<void> {
  let done = 0;
  const next = async (): Promise<void> => {
    const [round, at] = [Math.floor(done / 300), done % 300];
    const sign = round % 2 === 0 ? "+" : "-";
    await expectOk(client.command(`UID STORE ${at + 1} ${sign}FLAGS.SILENT (\\Flagged)`));
    done++;
  };
  await warm(size, next);
  const count = size.brief ? 100 : 1000;
  const [before, started] = [totalCpuMs(target), performance.now()];
  for (let i = 0; i < count; i++) await next();
  add({
    scenario,
    unit: "ms",
    value: (performance.now() - started) / count,
    cpuMsPerOp: (totalCpuMs(target) - before) / count,
  });
}

/** To another mailbox and back. */
async function moves(bench: Bench, scenario: string): Promise<void> {
  const { client, size } = bench;
  await expectOk(client.command("CREATE bench-moved"));
  await inPeace(bench, scenario, async (round) => {
    const [from, to] = round % 2 === 0 ? ["bench", "bench-moved"] : ["bench-moved", "bench"];
    await expectOk(client.command(`SELECT ${from}`));
    return () => client.command(`MOVE 1:${movedOf(size)} ${to}`);
  });
}

/** The oldest; as many come behind the newest. */
async function expunges(bench: Bench, scenario: string): Promise<void> {
  const { client, size } = bench;
  await expectOk(client.command("SELECT bench"));
  await inPeace(bench, scenario, async () => {
    await expectOk(client.command(`COPY 1:${movedOf(size)} bench`));
    await expectOk(client.command(`STORE 1:${movedOf(size)} +FLAGS.SILENT (\\Deleted)`));
    return () => client.command("EXPUNGE");
  });
}

/**
 * Commands with long after-effects in the background, each when those of what came before are over; the
 * first half of the rounds is to warm up.
 */
async function inPeace(
  { size, add }: Bench,
  scenario: string,
  prepare: (round: number) => Promise<() => Promise<ImapAnswer>>,
): Promise<void> {
  const times: number[] = [];
  const rounds = size.brief ? 2 : 40;
  for (let round = 0; round < rounds; round++) {
    const run = await prepare(round);
    await wait(pauseMs);
    const { ms } = await expectOk(run());
    if (round >= rounds / 2) times.push(ms);
  }
  add({ scenario, unit: "ms", value: median(times) });
}

function movedOf(size: BenchSize): number {
  return Math.min(movedMessages, size.messages);
}

function median(times: readonly number[]): number {
  return quantile(Float64Array.from(times).sort(), 0.5);
}

async function warm(size: BenchSize, run: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + (size.brief ? 0 : 1000);
  while (performance.now() < end) await run();
}

/** CPU time is counted in steps of 10 ms: short commands are repeated for so long at least. */
function leastMs(size: BenchSize): number {
  return size.brief ? 0 : 1000;
}
