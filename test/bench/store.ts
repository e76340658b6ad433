// Figures of the store alone, without gateways, links and secondaries: `npx tsx test/bench/store.ts`.
// Wall and CPU milliseconds of each operation over one mailbox of 10,000 messages of 4 KiB; `first` is
// after a reopen (nothing of the mailbox in RAM), `best` the best of a few. An argument picks operations.

import { setMaxListeners } from "node:events";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import { deliveryId, mailboxId, makeAccountId, opId, shardId } from "../../src/mail/ids.ts";
import type { FetchItems, Principal } from "../../src/mail/mail-store.ts";
import { indexMessage } from "../../src/mail/mime/indexer.ts";
import type { SearchKey } from "../../src/mail/search-key.ts";
import { allUids } from "../../src/mail/uid-set.ts";
import { createAccount, firstMailboxes } from "../../src/store/accounts.ts";
import { openIndex, openStore, searchIndexAt } from "../../src/store/open-store.ts";
import type { OpenedStore } from "../../src/store/open-store.ts";

const messages = 10_000;
const shard = shardId(1);
const inbox = mailboxId(1);
const never = new AbortController().signal;
setMaxListeners(0, never);
const change = () => ({ opId: opId(systemRandom.hex(16)), retry: false });

interface Task {
  readonly name: string;
  readonly run: (opened: OpenedStore, who: Principal) => Promise<number>;
  /** Bytes or another count is shown as MB/s. */
  readonly rate?: boolean;
  /** Times it can be done on one mailbox. */
  readonly times: number;
  /** With the search index, built before. */
  readonly index?: boolean;
}

const listing = { flags: true, size: true, envelope: true, bodyStructure: true } as const;
const sections = [{ path: [], kind: "body", label: "BODY[]" }] as const;
const tasks: readonly Task[] = [
  { name: "select", run: select, times: 10 },
  { name: "flags", run: fetching({ flags: true }), times: 10 },
  { name: "listing", run: fetching(listing), times: 10 },
  { name: "bodies", run: fetching({ sections }), times: 5, rate: true },
  { name: "one-body", run: oneByOne, times: 2 },
  ...[true, false].flatMap((index): Task[] => {
    const name = (what: string): string => `${what}${index ? "" : "-scan"}`;
    return [
      { name: name("search-body"), key: { kind: "body", text: "needle42" } as const },
      { name: name("search-none"), key: { kind: "body", text: "no such text" } as const },
      { name: name("search-word"), key: { kind: "body", text: "woman place" } as const },
      { name: name("search-ko"), key: { kind: "text", text: "한글 조각" } as const },
      {
        name: name("search-subject"),
        key: { kind: "header", name: "subject", text: "number 77" } as const,
      },
    ].map(({ name, key }) => ({ name, run: searching(key), times: 3, index }));
  }),
  { name: "store-1000", run: storing, times: 5 },
  { name: "move-1000", run: moving, times: 4 },
  { name: "expunge-1000", run: expunging, times: 4 },
];

async function main(): Promise<void> {
  const wanted = process.argv[2] === undefined ? undefined : new RegExp(process.argv[2]);
  const folder = await mkdtemp(join(tmpdir(), "pabal-bench-"));
  try {
    let opened = await open(folder);
    const users = [await fill(opened, 1), await fill(opened, 2)];
    await opened.close();
    await buildIndex(folder, 2 * messages);
    for (const [round, who] of users.entries()) {
      console.log(round === 0 ? "first mailbox (code is cold, too)" : "second mailbox");
      for (const task of tasks) {
        if (wanted?.test(task.name) === false) continue;
        opened = await open(folder, task.index === true);
        if (task.name !== "select") await select(opened, who);
        await measure(task, opened, who);
        await opened.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function measure(task: Task, opened: OpenedStore, who: Principal): Promise<void> {
  const walls: number[] = [];
  const cpus: number[] = [];
  let count = 0;
  for (let time = 0; time < task.times; time++) {
    const cpu = process.cpuUsage();
    const start = performance.now();
    count = await task.run(opened, who);
    walls.push(performance.now() - start);
    const used = process.cpuUsage(cpu);
    cpus.push((used.user + used.system) / 1000);
  }
  const show = (values: readonly number[]): string =>
    `first ${(values[0] ?? 0).toFixed(1).padStart(7)}  best ${Math.min(...values)
      .toFixed(1)
      .padStart(7)}`;
  const rate = task.rate === true ? `  ${(count / 1000 / Math.min(...walls)).toFixed(0)} MB/s` : "";
  console.log(
    `${task.name.padEnd(15)} ms ${show(walls)}   CPU ms ${show(cpus)}   n=${count}${rate}`,
  );
}

/** Messages a second of the background, and bytes of index a message. */
async function buildIndex(folder: string, count: number): Promise<void> {
  const opened = await open(folder, true);
  const cpu = process.cpuUsage();
  const start = performance.now();
  const figures = (): number => opened.searchIndex?.figures.messages ?? count;
  while (figures() < count - 64) await wait(50);
  const used = process.cpuUsage(cpu);
  const wall = performance.now() - start;
  await opened.close();
  const files = await readdir(join(folder, "search"));
  const sizes = await Promise.all(files.map((file) => stat(join(folder, "search", file))));
  const bytes = sizes.reduce((sum, { size }) => sum + size, 0);
  console.log(
    `index of ${figures()}: ${wall.toFixed(0)} ms, CPU ${((used.user + used.system) / 1000 / count).toFixed(3)} ms and ` +
      `${(bytes / count).toFixed(0)} bytes a message`,
  );
}

async function open(folder: string, index = false): Promise<OpenedStore> {
  return openStore({
    ...(index ? { searchIndex: searchIndexAt(join(folder, "search")) } : {}),
    disk: realDisk(folder),
    index: await openIndex(join(folder, "index")),
    clock: systemClock,
    random: systemRandom,
    shards: [shard],
    onFatal: (error) => {
      throw error;
    },
  });
}

async function fill(opened: OpenedStore, user: number): Promise<Principal> {
  const account = makeAccountId(shard, user);
  const uidValidityFloor = 0;
  const name = `u${user}@pabal.test`;
  const limits = { aliases: [], credentials: { hash: "" }, quotaBytes: 0, quotaMessages: 0 };
  const fresh = { ...change(), shard, account, name, profile: {}, ...limits };
  await createAccount(
    opened.engine,
    { ...fresh, mailboxes: firstMailboxes, uidValidityFloor },
    never,
  );
  for (let from = 0; from < messages; from += 100) {
    const group = Array.from({ length: 100 }, (_, at) => {
      const bytes = mail(from + at);
      const id = deliveryId(systemRandom.hex(13).toUpperCase());
      return opened.store.deliver(
        {
          ...change(),
          shard,
          deliveryId: id,
          recipients: [{ account }],
          source: { kind: "bytes", bytes },
          index: indexMessage(bytes),
        },
        never,
      );
    });
    await Promise.all(group);
  }
  return { account, shard, credVersion: 1 };
}

const words =
  "time person year way day thing man world life hand part child eye woman place work week case".split(
    " ",
  );

/** Multipart of 4 KiB: half plain, half HTML, as most mail is. */
function mail(number: number): Buffer {
  const text: string[] = [];
  const html: string[] = [
    "<html><head><title>t</title><style>p { margin: 0 }</style></head><body>",
  ];
  for (let line = 0; line < 24; line++) {
    const said = Array.from(
      { length: 11 },
      (_, i) => words[(number * 7 + line * 5 + i * 3) % words.length],
    ).join(" ");
    text.push(said);
    html.push(`<p style="margin:0">${said} <b>&amp;</b></p>`);
  }
  if (number % 100 === 0) text.push(`needle${number / 100}`);
  const head = [
    "Received: from a.test (a.test [192.0.2.1]) by b.test with ESMTPS id 123; Mon, 5 Jan 2026 12:00:00 +0000",
    `From: "Sender ${number % 97}" <sender${number % 97}@example.org>`,
    "To: Receiver <receiver@example.net>, Other <other@example.net>",
    `Subject: =?UTF-8?B?7ZWc6riA?= message number ${number}`,
    "Date: Mon, 5 Jan 2026 12:00:00 +0000",
    `Message-ID: <${number}.${"x".repeat(20)}@example.org>`,
    "MIME-Version: 1.0",
    'Content-Type: multipart/alternative; boundary="=_b1"',
    "",
    "--=_b1",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    ...text,
    "--=_b1",
    "Content-Type: text/html; charset=utf-8",
    "Content-Transfer-Encoding: 7bit",
    "",
    ...html,
    "</body></html>",
    "--=_b1--",
    "",
  ].join("\r\n");
  return Buffer.from(head.length < 4094 ? `${head}${"-".repeat(4094 - head.length)}\r\n` : head);
}

async function select({ store }: OpenedStore, who: Principal): Promise<number> {
  return (await store.openMailbox(who, { name: "INBOX", claimRecent: false })).uids.length;
}

function fetching(items: FetchItems): Task["run"] {
  return async ({ store }, who) => {
    let bytes = 0;
    for await (const chunk of store.fetch(who, { mailbox: inbox, uids: allUids, items }, never)) {
      bytes += chunk.bytes.length;
    }
    return bytes;
  };
}

async function oneByOne({ store }: OpenedStore, who: Principal): Promise<number> {
  let parts = 0;
  for (let uid = 1; uid <= 1000; uid++) {
    const request = { mailbox: inbox, uids: [uid, uid], items: { sections } };
    for await (const chunk of store.fetch(who, request, never)) parts += chunk.uids.length;
  }
  return parts;
}

function searching(key: SearchKey): Task["run"] {
  return async ({ store }, who) =>
    (await store.search(who, { mailbox: inbox, key }, never)).uids.length;
}

async function storing({ store }: OpenedStore, who: Principal): Promise<number> {
  const { uids } = await store.openMailbox(who, { name: "INBOX", claimRecent: false });
  const low = uids[0] ?? 0;
  const high = uids[999] ?? 0;
  const flags = [`k${Math.floor(performance.now())}`];
  const done = await store.store(
    who,
    { ...change(), mailbox: inbox, uids: [low, high], mode: "add", flags },
    never,
  );
  return done.stored.length;
}

async function moving({ store }: OpenedStore, who: Principal): Promise<number> {
  const { uids } = await store.openMailbox(who, { name: "INBOX", claimRecent: false });
  const set = [uids[0] ?? 0, uids[999] ?? 0];
  const done = await store.move(
    who,
    { ...change(), mailbox: inbox, uids: set, target: "Trash" },
    never,
  );
  return done.to.length;
}

async function expunging({ store }: OpenedStore, who: Principal): Promise<number> {
  const { uids } = await store.openMailbox(who, { name: "INBOX", claimRecent: false });
  const set = [uids[0] ?? 0, uids[999] ?? 0];
  const done = await store.expunge(
    who,
    { ...change(), mailbox: inbox, uids: set, force: true },
    never,
  );
  return (done.expunged[1] ?? 0) - (done.expunged[0] ?? 0) + 1;
}

await main();
