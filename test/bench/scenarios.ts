// What is measured, the same for Pabal and every peer: each scenario drives standard protocols only.

import { residentBytes, settled, totalCpuMs } from "./cpu.ts";
import { expectOk, ImapClient } from "./imap-client.ts";
import { mailbox } from "./mailbox.ts";
import { popRetrieve } from "./pop3-load.ts";
import { type Figure, quantile } from "./report.ts";
import type { BenchSize } from "./size.ts";
import { runSmtpLoad } from "./smtp-load.ts";
import type { Target } from "./target.ts";

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
  const { imap, pop3, smtp, lmtp } = target;
  if (imap !== undefined) {
    const wants = (scenario: string): boolean => size.only.test(scenario);
    if (wants(names.login)) await loginCycle(target, imap, size, add);
    await mailbox(target, imap, size, add);
    if ((smtp !== undefined || lmtp !== undefined) && wants(names.exists))
      await notification(target, imap, add);
    if (!size.brief && wants(names.idle)) await idleConnections(target, imap, size, add);
  }
  if (pop3 !== undefined && size.only.test(names.pop)) await pop(target, pop3, size, add);
  return figures;
}

const names = {
  login: "IMAP login+select+logout, 16 connections",
  exists: "EXISTS after the 250 (IDLE), p50",
  idle: "idle IMAP connection",
  pop: "POP3 RETR, one connection",
};

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
      const scenario = `${name} deliveries/s, ${connections} connections${reconnect ? ", new each" : ""}, ${kib} KiB`;
      if (!size.only.test(scenario)) continue;
      const load = {
        port,
        lmtp,
        connections,
        messageBytes: kib * 1024,
        reconnect,
        users: target.users,
      };
      // V8 compiles for some seconds; peers are compiled already.
      await runSmtpLoad({ ...load, seconds: Math.min(3, size.seconds) });
      const before = totalCpuMs(target);
      const result = await runSmtpLoad({ ...load, seconds: size.seconds });
      const cpu = totalCpuMs(target) - before;
      if (result.refused > 0)
        throw new Error(`${target.name}: ${result.refused} of ${result.delivered} refused`);
      add({
        scenario,
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
    scenario: names.login,
    unit: "/s",
    value: count / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / count,
  });
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
    scenario: names.exists,
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
    scenario: `${names.idle} (of ${size.idle})`,
    unit: "KiB",
    value: (after - before) / 1024 / size.idle,
  });
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
    scenario: names.pop,
    unit: "/s",
    value: messages / seconds,
    cpuMsPerOp: (totalCpuMs(target) - before) / messages,
  });
}
