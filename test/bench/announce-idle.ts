// One announcement while very many members are connected and idle: when the first and the last of
// them hears of it, and what deliveries to others take meanwhile.

import { setTimeout as wait } from "node:timers/promises";
import { post } from "./announce-target.ts";
import { settled, totalCpuMs } from "./cpu.ts";
import { ImapClient } from "./imap-client.ts";
import { type Figure, quantile } from "./report.ts";
import { runSmtpLoad, type SmtpResult } from "./smtp-load.ts";
import type { Target } from "./target.ts";

const connectAtOnce = 25;
const loadSeconds = 4;
const postAfterMs = 500;
const allToldWithinMs = 120_000;
const announcements = 5;

/** What sessions were told of one announcement, and when. */
interface Told {
  first: number;
  last: number;
  sessions: number;
}

/** @param members each gets a session in IDLE on the folder. */
export async function tellIdle(
  target: Target,
  members: readonly string[],
): Promise<readonly Figure[]> {
  const clients: ImapClient[] = [];
  let told: Told = { first: 0, last: 0, sessions: 0 };
  const heard = (text: string): void => {
    if (!text.includes("EXISTS")) return;
    told.last = performance.now();
    if (told.sessions++ === 0) told.first = told.last;
  };
  try {
    for (let from = 0; from < members.length; from += connectAtOnce) {
      const some = members.slice(from, from + connectAtOnce);
      clients.push(...(await Promise.all(some.map((name) => idling(target, name, heard)))));
    }
    await settled(target, 60_000);
    const announced = async (): Promise<{ readonly first: number; readonly last: number }> => {
      told = { first: 0, last: 0, sessions: 0 };
      const from = performance.now();
      await post(target);
      await until(() => told.sessions >= members.length);
      return { first: told.first - from, last: told.last - from };
    };
    return await measured(target, members.length, announced);
  } finally {
    for (const client of clients) client.close();
  }
}

async function measured(
  target: Target,
  count: number,
  announced: () => Promise<{ readonly first: number; readonly last: number }>,
): Promise<readonly Figure[]> {
  const quiet: SmtpResult[] = [];
  const disturbed: SmtpResult[] = [];
  const times: { readonly first: number; readonly last: number }[] = [];
  let cpuMs = 0;
  // In turn, so that both have the same weather.
  for (let turn = 0; turn < announcements; turn++) {
    quiet.push(await load(target));
    const running = load(target);
    await wait(postAfterMs);
    times.push(await announced());
    disturbed.push(await running);
    const before = totalCpuMs(target);
    await announced();
    await wait(500);
    cpuMs += (totalCpuMs(target) - before) / announcements / count;
  }
  const at = (results: readonly SmtpResult[], p: number): number =>
    middle(results.map(({ latencies }) => quantile(latencies, p)));
  const scenario = `${count} idle members hear of an announcement`;
  const of = `medians of ${announcements}`;
  return [
    {
      scenario: `${scenario}, the first`,
      unit: "ms",
      value: middle(times.map((t) => t.first)),
      note: of,
    },
    {
      scenario: `${scenario}, the last`,
      unit: "ms",
      value: middle(times.map((t) => t.last)),
      note: `${of}; ${cpuMs.toFixed(3)} ms CPU a member without deliveries`,
    },
    {
      scenario: "deliveries meanwhile, one connection, p99",
      unit: "ms",
      value: at(disturbed, 0.99),
      note: `${at(quiet, 0.99).toFixed(1)} ms without an announcement; p50 ${at(disturbed, 0.5).toFixed(1)} and ${at(quiet, 0.5).toFixed(1)} ms`,
    },
  ];
}

/** Deliveries to others, the next one when one is answered. */
function load(target: Target): Promise<SmtpResult> {
  return runSmtpLoad({
    port: target.smtp ?? 0,
    lmtp: false,
    connections: 1,
    messageBytes: 4096,
    reconnect: false,
    users: target.users,
    seconds: loadSeconds,
  });
}

async function idling(
  target: Target,
  user: string,
  heard: (text: string) => void,
): Promise<ImapClient> {
  const client = await ImapClient.open(target.imap ?? 0);
  for (const command of [`LOGIN ${user} ${target.password}`, "SELECT Announcements/all"]) {
    const { ok, tail } = await client.command(command);
    if (!ok) throw new Error(`${user}: ${tail}`);
  }
  await client.idle(heard);
  return client;
}

function middle(values: readonly number[]): number {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

async function until(done: () => boolean): Promise<void> {
  const end = performance.now() + allToldWithinMs;
  while (!done()) {
    if (performance.now() > end) throw new Error("not every idle member heard of it");
    await wait(5);
  }
}
