// Announcements: what one post costs with more and more members, and, with peers, an alias of Postfix
// that expands to as many users of Dovecot. Members are registered users, by import; none is simulated.

import { setTimeout as wait } from "node:timers/promises";
import { makeCredentials } from "../../src/cluster/directory/make-credentials.ts";
import { defaultHashParameters } from "../../src/cluster/directory/password.ts";
import { settled, totalCpuMs, writtenBytes } from "./cpu.ts";
import { ImapClient } from "./imap-client.ts";
import { startPeers } from "./peers.ts";
import { type Figure, markdownTable, quantile } from "./report.ts";
import { messageBody, runSmtpLoad } from "./smtp-load.ts";
import { startPabal, type Target } from "./target.ts";

export interface GroupBenchOptions {
  readonly brief: boolean;
  readonly peers: boolean;
  /** A million members, too: making them takes many minutes. */
  readonly million: boolean;
}

const firstUsers = 100;
const domain = "pabal.test";
const importBatch = 100;
const importLanes = 4;
const allThereWithinMs = 600_000;

/** Runs it all. @returns the table as Markdown. */
export async function benchGroups(options: GroupBenchOptions): Promise<string> {
  const sizes = [firstUsers, ...(options.brief ? [300] : [10_000, 20_000])];
  if (options.million) sizes.push(1_000_000);
  const peerMembers = options.brief ? 300 : 20_000;
  const columns = [await measured(await startOne(), (target) => growing(target, sizes, options))];
  if (options.peers) {
    const members = Array.from({ length: peerMembers }, (_, index) => memberName(index));
    const aliases = new Map([[`everyone@${domain}`, members]]);
    const [dovecot, postfix] = await startPeers(aliases);
    if (dovecot === undefined || postfix === undefined) throw new Error("a peer is missing");
    try {
      columns.push(await measured(postfix, (target) => expanded(target, dovecot, members)));
    } finally {
      await dovecot.stop();
    }
  }
  return markdownTable(columns);
}

function startOne(): Promise<Target> {
  return startPabal({
    gateways: 1,
    nodes: 2,
    users: firstUsers,
    set: ['cluster.link={"plaintext":true}'],
  });
}

async function measured(
  target: Target,
  run: (target: Target) => Promise<readonly Figure[]>,
): Promise<{ name: string; figures: readonly Figure[] }> {
  process.stdout.write(`\n${target.name}\n`);
  try {
    return { name: target.name, figures: await run(target) };
  } finally {
    await target.stop();
  }
}

/** The same posts to `all`, with more members each time. */
async function growing(
  target: Target,
  sizes: readonly number[],
  { brief }: GroupBenchOptions,
): Promise<readonly Figure[]> {
  const hash = await makeCredentials(target.password, {
    ...defaultHashParameters,
    scramIterations: 10_000,
  });
  const figures: Figure[] = [];
  let [members, posted] = [firstUsers, 0];
  // Compiled code and a first announcement, which makes the group, are nobody's cost.
  for (let left = brief ? 5 : 200; left > 0; left--, posted++) await post(target);
  for (const size of sizes) {
    const started = performance.now();
    await importMembers(target, members, size, hash);
    if (size > members) {
      const seconds = (performance.now() - started) / 1000;
      process.stdout.write(`  ${size - members} users made in ${seconds.toFixed(1)} s\n`);
    }
    members = size;
    await settled(target);
    const count = brief ? 20 : 300;
    const figure = await posts(target, members, count);
    posted += count;
    const first = target.users[0] ?? "";
    for (const user of [first, size > firstUsers ? memberName(size - 1) : first]) {
      await expectMessages(target, user, posted);
    }
    process.stdout.write(
      `  ${figure.scenario}: ${figure.value.toFixed(2)} ms, ${figure.cpuMsPerOp?.toFixed(2)} ms CPU (${figure.note})\n`,
    );
    figures.push(figure);
  }
  return figures;
}

async function posts(target: Target, members: number, count: number): Promise<Figure> {
  const [cpu, bytes] = [totalCpuMs(target), writtenBytes(target)];
  const times = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const from = performance.now();
    await post(target);
    times[at] = performance.now() - from;
  }
  const kib = (writtenBytes(target) - bytes) / 1024 / count;
  times.sort();
  return {
    scenario: announcementTo(members),
    unit: "ms",
    value: quantile(times, 0.5),
    cpuMsPerOp: (totalCpuMs(target) - cpu) / count,
    note: `p99 ${quantile(times, 0.99).toFixed(1)} ms, ${kib.toFixed(1)} KiB written, of ${count}`,
  };
}

/** One message to the alias, until Postfix has nothing left to deliver. */
async function expanded(
  target: Target,
  dovecot: Target,
  members: readonly string[],
): Promise<readonly Figure[]> {
  const { queued } = target;
  if (queued === undefined) throw new Error("this peer queues nothing");
  await settled(target);
  const [cpu, bytes, from] = [totalCpuMs(target), writtenBytes(target), performance.now()];
  await runSmtpLoad({
    port: target.smtp ?? 0,
    lmtp: false,
    connections: 1,
    messageBytes: 4096,
    reconnect: false,
    users: [`everyone@${domain}`],
    seconds: 0,
    messages: 1,
  });
  const accepted = performance.now() - from;
  while (queued() > 0) {
    if (performance.now() - from > allThereWithinMs) throw new Error("the alias is not expanded");
    await wait(20);
  }
  const ms = performance.now() - from;
  const mib = (writtenBytes(target) - bytes) / 2 ** 20;
  const cpuMsPerOp = totalCpuMs(target) - cpu;
  for (const at of [0, Math.floor(members.length / 2), members.length - 1]) {
    const { count } = await messagesOf(dovecot, members[at] ?? "", "INBOX");
    if (count !== 1) throw new Error(`${members[at]} has ${count} messages`);
  }
  const note = `250 after ${accepted.toFixed(0)} ms, ${mib.toFixed(1)} MiB written, of 1`;
  const figure = {
    scenario: announcementTo(members.length),
    unit: "ms",
    value: ms,
    cpuMsPerOp,
    note,
  };
  process.stdout.write(
    `  ${figure.scenario}: ${ms.toFixed(0)} ms, ${cpuMsPerOp} ms CPU (${note})\n`,
  );
  return [figure];
}

function announcementTo(members: number): string {
  return `announcement of 4 KiB to ${members} members, in the last mailbox after`;
}

function memberName(index: number): string {
  return `m${index + 1}@${domain}`;
}

/** Makes registered users until there are `to` of them. */
async function importMembers(
  target: Target,
  from: number,
  to: number,
  hash: string,
): Promise<void> {
  let next = from;
  await Promise.all(
    Array.from({ length: importLanes }, async () => {
      while (next < to) {
        const first = next;
        next = Math.min(next + importBatch, to);
        const users = Array.from({ length: next - first }, (_, index) => ({
          name: memberName(first + index),
          hash,
        }));
        const text = await admin(target, "/admin/v1/users/import", JSON.stringify({ users }));
        if (text.includes('"error"')) throw new Error(`users were refused: ${text.slice(0, 500)}`);
      }
    }),
  );
}

const body = Uint8Array.from(
  Buffer.concat([Buffer.from("Subject: to all\r\n"), messageBody(4096)]),
);

async function post(target: Target): Promise<void> {
  await admin(target, "/admin/v1/groups/all/announcements", body, "message/rfc822");
}

/** @throws Error when it was refused. */
async function admin(
  target: Target,
  path: string,
  bytes: string | Uint8Array<ArrayBuffer>,
  type = "application/json",
): Promise<string> {
  if (target.admin === undefined) throw new Error("this target has no admin API");
  const response = await fetch(new URL(path, target.admin.url), {
    method: "POST",
    headers: {
      authorization: `Bearer ${target.admin.token}`,
      "content-type": type,
    },
    body: bytes,
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return text;
}

/** What was answered is in the member's mailbox: nothing comes later. */
async function expectMessages(target: Target, user: string, count: number): Promise<void> {
  const found = await messagesOf(target, user, "Announcements/all");
  if (found.count !== count)
    throw new Error(`${user} has ${found.count} of ${count}: ${found.tail}`);
}

async function messagesOf(
  target: Target,
  user: string,
  mailbox: string,
): Promise<{ count: number; tail: string }> {
  const client = await ImapClient.open(target.imap ?? 0);
  try {
    const login = await client.command(`LOGIN ${user} ${target.password}`);
    if (!login.ok) throw new Error(`${user} can't log in: ${login.tail}`);
    const { tail } = await client.command(`STATUS ${mailbox} (MESSAGES)`);
    return { count: Number(/MESSAGES (\d+)/.exec(tail)?.[1]), tail };
  } finally {
    client.close();
  }
}
