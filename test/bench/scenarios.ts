// What is measured, the same for Pabal and every peer: each scenario drives standard protocols only.

import { residentBytes, settled, totalCpuMs } from "./cpu.ts";
import { ImapClient } from "./imap-client.ts";
import { popRetrieve } from "./pop3-load.ts";
import { type Figure, quantile } from "./report.ts";
import { messageBody, runSmtpLoad } from "./smtp-load.ts";
import type { Target } from "./target.ts";

export interface BenchSize {
  /** Seconds per delivery scenario. */
  readonly seconds: number;
  /** Messages in the large mailbox. */
  readonly messages: number;
  readonly idle: number;
  /** Only the scenarios that a smoke run wants. */
  readonly brief: boolean;
}

/** Runs every scenario the target can do, in a fixed order, telling each figure as it comes. */
export async function runScenarios(
  target: Target,
  size: BenchSize,
  tell: (figure: Figure) => void,
): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  const add = (figure: Figure): void => {
    figures.push(figure);
    tell(figure);
  };
  await deliveries(target, size, add);
  if (target.imap !== undefined) {
    await loginCycle(target, target.imap, size, add);
    await mailbox(target, target.imap, size, add);
    if (target.smtp !== undefined || target.lmtp !== undefined)
      await notification(target, target.imap, add);
    if (!size.brief) await idleConnections(target, target.imap, size, add);
  }
  if (target.pop3 !== undefined) await pop(target, target.pop3, size, add);
  return figures;
}

async function deliveries(
  target: Target,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  for (const lmtp of [false, true]) {
    const port = lmtp ? target.lmtp : target.smtp;
    if (port === undefined) continue;
    const name = lmtp ? "LMTP" : "SMTP";
    const runs = [
      { connections: 1, kib: 4, reconnect: false },
      { connections: 16, kib: 4, reconnect: false },
      { connections: 64, kib: 4, reconnect: false },
      { connections: 16, kib: 64, reconnect: false },
      { connections: 16, kib: 4, reconnect: true },
    ].filter((run) => !size.brief || run.connections === 64);
    for (const { connections, kib, reconnect } of runs) {
      const load = {
        port,
        lmtp,
        connections,
        messageBytes: kib * 1024,
        reconnect,
        users: target.users,
      };
      await runSmtpLoad({ ...load, seconds: Math.min(1, size.seconds) }); // Warm-up.
      const before = totalCpuMs(target);
      const result = await runSmtpLoad({ ...load, seconds: size.seconds });
      const cpu = totalCpuMs(target) - before;
      if (result.refused > 0)
        throw new Error(`${target.name}: ${result.refused} of ${result.delivered} refused`);
      add({
        scenario: `${name} deliveries/s, ${connections} connections${reconnect ? ", new each" : ""}, ${kib} KiB`,
        unit: "/s",
        value: result.delivered / result.seconds,
        cpuMsPerOp: cpu / result.delivered,
        note: `p50 ${quantile(result.latencies, 0.5).toFixed(1)} ms, p99 ${quantile(result.latencies, 0.99).toFixed(1)} ms`,
      });
    }
  }
}

async function loginCycle(
  target: Target,
  port: number,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  const cycle = async (user: string): Promise<void> => {
    const client = await ImapClient.open(port);
    await expectOk(client.command(`LOGIN ${user} ${target.password}`));
    await expectOk(client.command("SELECT INBOX"));
    await expectOk(client.command("LOGOUT"));
    client.close();
  };
  for (const user of target.users) await cycle(user); // Verified credentials are cached from here on.
  const end = performance.now() + size.seconds * 1000;
  const [before, started] = [totalCpuMs(target), performance.now()];
  let count = 0;
  const workers = Array.from({ length: 16 }, async (_, index) => {
    const user = target.users[index % target.users.length] ?? "";
    for (; performance.now() < end; count++) await cycle(user);
  });
  await Promise.all(workers);
  const seconds = (performance.now() - started) / 1000;
  add({
    scenario: "IMAP login+select+logout, 16 connections",
    unit: "/s",
    value: count / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / count,
  });
}

/** A mailbox of its own, filled by APPEND, then the commands that clients use most. */
async function mailbox(
  target: Target,
  port: number,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  const client = await ImapClient.open(port);
  await expectOk(client.command(`LOGIN ${target.users[0]} ${target.password}`));
  await expectOk(client.command("CREATE bench"));
  const body = messageBody(4096);
  const timed = async (
    scenario: string,
    command: string,
    repeat: number,
    perOp = 1,
  ): Promise<void> => {
    const first = await expectOk(client.command(command));
    await warm(size, () => expectOk(client.command(command)));
    const before = totalCpuMs(target);
    const times: number[] = [];
    const end = performance.now() + leastMs(size);
    while (times.length < repeat || performance.now() < end)
      times.push((await expectOk(client.command(command))).ms);
    const cpu = (totalCpuMs(target) - before) / times.length;
    const ms = quantile(Float64Array.from(times).sort(), 0.5);
    add({
      scenario,
      unit: "ms",
      value: ms / perOp,
      cpuMsPerOp: cpu / perOp,
      note: `first ${first.ms.toFixed(1)} ms, ${(first.bytes / 1e6).toFixed(1)} MB`,
    });
  };
  await append(target, client, body, size, add);
  await settled(target);
  const n = size.messages;
  await expectOk(client.command("SELECT bench"));
  await timed(`SELECT again, ${n} messages`, "SELECT bench", 20);
  await timed(`UID FETCH 1:* (FLAGS), ${n}`, "UID FETCH 1:* (FLAGS)", 10);
  await timed(`FETCH listing, ${n}`, "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE)", 5);
  await bodies(client, n, add);
  await timed("one body a command", "UID FETCH 5 (BODY.PEEK[])", 500);
  await timed(`SEARCH SUBJECT, ${n}`, 'UID SEARCH SUBJECT "no such subject"', 5);
  await timed(`SEARCH BODY, ${n}`, 'UID SEARCH BODY "no such text"', 3);
  await flags(target, client, size, add);
  await moves(client, n, add);
  client.close();
}

async function append(
  target: Target,
  client: ImapClient,
  body: Buffer,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  const message = Buffer.concat([Buffer.from("Subject: appended\r\n"), body]);
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
    scenario: "APPEND, 8 connections, 4 KiB",
    unit: "/s",
    value: size.messages / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / size.messages,
  });
}

async function bodies(client: ImapClient, n: number, add: (figure: Figure) => void): Promise<void> {
  const rates: number[] = [];
  for (let i = 0; i < 3; i++) {
    const { bytes, ms } = await expectOk(client.command("UID FETCH 1:* (BODY.PEEK[])"));
    rates.push(bytes / 1000 / ms);
  }
  add({
    scenario: `bodies of ${n} × 4 KiB in one command`,
    unit: "MB/s",
    value: Math.max(...rates),
  });
}

/** Each command changes something: every message in turn gets the flag, then each loses it. */
async function flags(
  target: Target,
  client: ImapClient,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
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
    scenario: "STORE, one message",
    unit: "ms",
    value: (performance.now() - started) / count,
    cpuMsPerOp: (totalCpuMs(target) - before) / count,
  });
}

/** The last of several rounds counts: of one command nothing is warm. */
async function moves(client: ImapClient, n: number, add: (figure: Figure) => void): Promise<void> {
  await expectOk(client.command("CREATE bench-moved"));
  const times = { move: 0, expunge: 0 };
  for (let from = 1; from < Math.min(n, 5000); from += 1000) {
    await expectOk(client.command("SELECT bench"));
    const moved = await expectOk(client.command(`UID MOVE ${from}:${from + 999} bench-moved`));
    await expectOk(client.command("SELECT bench-moved"));
    await expectOk(client.command("STORE 1:* +FLAGS.SILENT (\\Deleted)"));
    const gone = await expectOk(client.command("EXPUNGE"));
    times.move = moved.ms;
    times.expunge = gone.ms;
  }
  add({ scenario: "MOVE 1000", unit: "ms", value: times.move });
  add({ scenario: "EXPUNGE 1000", unit: "ms", value: times.expunge });
}

/** From the 250 of a delivery to EXISTS on an idle connection. */
async function notification(
  target: Target,
  port: number,
  add: (figure: Figure) => void,
): Promise<void> {
  const user = target.users.at(-1) ?? "";
  const client = await ImapClient.open(port);
  await expectOk(client.command(`LOGIN ${user} ${target.password}`));
  await expectOk(client.command("SELECT INBOX"));
  let seen: (() => void) | undefined;
  await client.idle((text) => {
    if (text.includes("EXISTS")) seen?.();
  });
  const times: number[] = [];
  const lmtp = target.smtp === undefined;
  for (let i = 0; i < 50; i++) {
    const exists = new Promise<number>((done, fail) => {
      const timer = setTimeout(() => fail(new Error("no EXISTS in 10 s")), 10_000);
      seen = () => {
        clearTimeout(timer);
        done(performance.now());
      };
    });
    await runSmtpLoad({
      port: target.smtp ?? target.lmtp ?? 0,
      lmtp,
      connections: 1,
      messageBytes: 4096,
      reconnect: false,
      users: [user],
      seconds: 0,
      messages: 1,
    });
    const answered = performance.now();
    times.push(Math.max(0, (await exists) - answered));
  }
  client.close();
  const sorted = Float64Array.from(times).sort();
  add({
    scenario: "EXISTS after the 250 (IDLE), p50",
    unit: "ms",
    value: quantile(sorted, 0.5),
    note: `p99 ${quantile(sorted, 0.99).toFixed(1)} ms`,
  });
}

async function idleConnections(
  target: Target,
  port: number,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  await settled(target);
  const before = residentBytes(target, "g") || residentBytes(target, "");
  const clients: ImapClient[] = [];
  for (let from = 0; from < size.idle; from += 50) {
    clients.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(50, size.idle - from) }, async (_, index) => {
          const client = await ImapClient.open(port);
          await expectOk(
            client.command(
              `LOGIN ${target.users[(from + index) % target.users.length]} ${target.password}`,
            ),
          );
          await expectOk(client.command("SELECT INBOX"));
          await client.idle(() => {});
          return client;
        }),
      )),
    );
  }
  const after = residentBytes(target, "g") || residentBytes(target, "");
  for (const client of clients) client.close();
  add({
    scenario: `idle IMAP connection (of ${size.idle})`,
    unit: "KiB",
    value: (after - before) / 1024 / size.idle,
  });
}

/** Peers' programs are compiled; ours is once it has run for a while. */
async function warm(size: BenchSize, run: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + (size.brief ? 0 : 1000);
  while (performance.now() < end) await run();
}

/** CPU time is counted in steps of 10 ms: short commands are repeated for so long at least. */
function leastMs(size: BenchSize): number {
  return size.brief ? 0 : 1000;
}

async function pop(
  target: Target,
  port: number,
  size: BenchSize,
  add: (figure: Figure) => void,
): Promise<void> {
  await settled(target);
  const user = target.users[1] ?? target.users[0] ?? "";
  if (!size.brief) await popRetrieve(port, user, target.password, 1000); // Warm-up.
  const before = totalCpuMs(target);
  const { messages, seconds } = await popRetrieve(
    port,
    user,
    target.password,
    size.brief ? 200 : 2000,
  );
  if (messages === 0) return;
  add({
    scenario: "POP3 RETR, one connection",
    unit: "/s",
    value: messages / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / messages,
  });
}

async function expectOk<T extends { readonly ok: boolean; readonly tail: string }>(
  answer: Promise<T>,
): Promise<T> {
  const given = await answer;
  if (!given.ok) throw new Error(`not OK: ${given.tail.slice(-300)}`);
  return given;
}
