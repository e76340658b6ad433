// Announcements: what one post costs with more and more members, what idle members and deliveries feel
// of one, and, with peers, an alias of Postfix that expands to as many users of Dovecot and of Cyrus.
// Members are registered users, by import; none is simulated.

import { setTimeout as wait } from "node:timers/promises";
import { makeCredentials } from "../../src/cluster/directory/make-credentials.ts";
import { tellIdle } from "./announce-idle.ts";
import {
  everyone,
  expectMessages,
  importMembers,
  memberName,
  post,
  removeGroup,
} from "./announce-target.ts";
import { type Cost, inTurn, medianCost, roundOf } from "./announce-turns.ts";
import { residentBytes, settled, totalCpuMs, writtenBytes } from "./cpu.ts";
import { startCyrus } from "./peer-cyrus.ts";
import { startPeers } from "./peers.ts";
import { type Figure, markdownTable, quantile } from "./report.ts";
import { runSmtpLoad } from "./smtp-load.ts";
import { startPabal, type Target } from "./target.ts";

export interface GroupBenchOptions {
  readonly brief: boolean;
  readonly peers: boolean;
  /** A million members, too: making them takes many minutes. */
  readonly million: boolean;
}

interface Size {
  readonly members: readonly number[];
  /** Sizes of explicit groups that are compared with the largest `all`. */
  readonly joined: readonly number[];
  readonly idle: number;
  readonly peerMembers: number;
  /** Posts before the first size, and before each. */
  readonly firstPosts: number;
  readonly warmPosts: number;
  readonly rounds: number;
  readonly roundPosts: number;
}

const firstUsers = 100;
const allThereWithinMs = 900_000;
const mebibyte = 2 ** 20;
/** Nothing of this measures logins: 10,000 members log in, each for the first time. */
const cheapHash = { memoryBytes: 64 * 1024, passes: 1 };

function sizeOf({ brief, million }: GroupBenchOptions): Size {
  if (brief) {
    const posts = { firstPosts: 5, warmPosts: 5, rounds: 10, roundPosts: 3 };
    const joined = [10, 100];
    return { members: [firstUsers, 300], joined, idle: 100, peerMembers: 300, ...posts };
  }
  const members = [firstUsers, 10_000, 20_000, ...(million ? [1_000_000] : [])];
  const posts = { firstPosts: 1000, warmPosts: 100, rounds: 10, roundPosts: 50 };
  return { members, joined: [100, 10_000], idle: 10_000, peerMembers: 20_000, ...posts };
}

/** Runs it all. @returns the table as Markdown, and below it how the sizes compare. */
export async function benchGroups(options: GroupBenchOptions): Promise<string> {
  const size = sizeOf(options);
  const set = [
    'cluster.link={"plaintext":true}',
    `auth.hashMemory=${cheapHash.memoryBytes / 1024}KiB`,
    `auth.hashPasses=${cheapHash.passes}`,
    'auth.mechanisms=["PLAIN"]',
  ];
  const pabal = await startPabal({ gateways: 1, nodes: 2, users: firstUsers, set });
  const compared: string[] = [];
  const columns = [
    await measured(pabal, async (target) => {
      const { figures, ratios } = await growing(target, size);
      compared.push(ratios);
      return figures;
    }),
  ];
  if (options.peers) columns.push(...(await peers(size.peerMembers)));
  return `${markdownTable(columns)}\n\n${compared.join("\n")}`;
}

async function peers(count: number): Promise<Column[]> {
  const members = Array.from({ length: count }, (_, index) => memberName(index));
  const aliases = new Map([[everyone, members]]);
  const columns: Column[] = [];
  for (const start of [() => startPeers(aliases), () => startCyrus(aliases)]) {
    const [store, postfix] = await start();
    if (store === undefined || postfix === undefined) throw new Error("a peer is missing");
    try {
      columns.push(await measured(postfix, (target) => expanded(target, store, members)));
    } finally {
      await store.stop();
    }
  }
  return columns;
}

interface Column {
  readonly name: string;
  readonly figures: readonly Figure[];
}

async function measured(
  target: Target,
  run: (target: Target) => Promise<readonly Figure[]>,
): Promise<Column> {
  process.stdout.write(`\n${target.name}\n`);
  try {
    return { name: target.name, figures: await run(target) };
  } finally {
    await target.stop();
  }
}

function tell(figure: Figure): Figure {
  const { scenario, value, unit, cpuMsPerOp, note } = figure;
  const cpu = cpuMsPerOp === undefined ? "" : `, ${cpuMsPerOp.toFixed(2)} ms CPU`;
  process.stdout.write(`  ${scenario}: ${value.toFixed(2)} ${unit}${cpu} (${note ?? ""})\n`);
  return figure;
}

/** The same posts to a new group `all`, with more members each time. */
async function growing(
  target: Target,
  size: Size,
): Promise<{ readonly figures: readonly Figure[]; readonly ratios: string }> {
  const hash = await makeCredentials(target.password, { ...cheapHash, scramIterations: 0 });
  const figures: Figure[] = [];
  let members = firstUsers;
  // Compiled code is nobody's cost.
  for (let left = size.firstPosts; left > 0; left--) await post(target);
  for (const wanted of size.members) {
    if (wanted > members) figures.push(tell(await imported(target, members, wanted, hash)));
    members = wanted;
    await removeGroup(target);
    for (let left = size.warmPosts; left > 0; left--) await post(target);
    // Behind a large import LevelDB tidies for a while.
    await settled(target, 120_000);
    figures.push(tell(await posts(target, members, size)));
    const first = target.users[0] ?? "";
    const posted = size.warmPosts + size.rounds * size.roundPosts;
    for (const user of [first, wanted > firstUsers ? memberName(wanted - 1) : first]) {
      await expectMessages(target, user, "Announcements/all", posted);
    }
    if (wanted === size.peerMembers) {
      const idle = Array.from({ length: size.idle }, (_, at) => memberName(firstUsers + at));
      for (const each of await tellIdle(target, idle)) figures.push(tell(each));
    }
  }
  const { joined, rounds, roundPosts } = size;
  return {
    figures,
    ratios: await inTurn(target, { joined, everyone: members, rounds, roundPosts }),
  };
}

async function imported(target: Target, from: number, to: number, hash: string): Promise<Figure> {
  const [cpu, started] = [totalCpuMs(target), performance.now()];
  await importMembers(target, from, to, hash);
  const seconds = (performance.now() - started) / 1000;
  const rss = (prefix: string): string =>
    `${(residentBytes(target, prefix) / mebibyte).toFixed(0)} MiB`;
  return {
    scenario: `users registered by import, up to ${to}`,
    unit: "/s",
    value: (to - from) / seconds,
    cpuMsPerOp: (totalCpuMs(target) - cpu) / (to - from),
    note: `then in memory: gateway ${rss("g")}, nodes ${rss("n1")} and ${rss("n2")}`,
  };
}

/** Medians over rounds: what else the machine does in one of them doesn't count. */
async function posts(
  target: Target,
  members: number,
  { rounds, roundPosts }: Size,
): Promise<Figure> {
  const times: number[] = [];
  const costs: Cost[] = [];
  for (let round = 0; round < rounds; round++) {
    costs.push(await roundOf(target, "all", roundPosts, (ms) => times.push(ms)));
  }
  const cost = medianCost(costs);
  const p99 = quantile(Float64Array.from(times).sort(), 0.99).toFixed(1);
  const written = `${(cost.bytes / 1024).toFixed(1)} KiB written`;
  return {
    scenario: announcementTo(members),
    unit: "ms",
    value: cost.ms,
    cpuMsPerOp: cost.cpuMs,
    note: `p99 ${p99} ms, ${written}, medians of ${rounds} × ${roundPosts}`,
  };
}

/** One message to the alias, until Postfix has nothing left to deliver. The first one makes the mailboxes. */
async function expanded(
  target: Target,
  store: Target,
  members: readonly string[],
): Promise<readonly Figure[]> {
  await sendAndWait(target);
  await settled(target);
  const [cpu, bytes, from] = [totalCpuMs(target), writtenBytes(target), performance.now()];
  const accepted = await sendAndWait(target);
  const ms = performance.now() - from;
  const mib = (writtenBytes(target) - bytes) / mebibyte;
  const cpuMsPerOp = totalCpuMs(target) - cpu;
  for (const at of [0, Math.floor(members.length / 2), members.length - 1]) {
    await expectMessages(store, members[at] ?? "", "INBOX", 2);
  }
  const note = `250 after ${accepted.toFixed(0)} ms, ${mib.toFixed(1)} MiB written, one, behind one that made the mailboxes`;
  const scenario = announcementTo(members.length);
  return [tell({ scenario, unit: "ms", value: ms, cpuMsPerOp, note })];
}

/** @returns when it was accepted, ms. */
async function sendAndWait(target: Target): Promise<number> {
  const { queued } = target;
  if (queued === undefined) throw new Error("this peer queues nothing");
  const from = performance.now();
  await runSmtpLoad({
    port: target.smtp ?? 0,
    lmtp: false,
    connections: 1,
    messageBytes: 4096,
    reconnect: false,
    users: [everyone],
    seconds: 0,
    messages: 1,
  });
  const accepted = performance.now() - from;
  while (queued() > 0) {
    if (performance.now() - from > allThereWithinMs) throw new Error("the alias is not expanded");
    await wait(20);
  }
  return accepted;
}

function announcementTo(members: number): string {
  return `announcement of 4 KiB to ${members} members, in the last mailbox after`;
}
