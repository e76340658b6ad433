// IMAP changes under kill -9 of mail nodes: what was answered OK is there afterwards, in both copies;
// what had no answer, or NO, is there or not, and nothing in between.

import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { seeded } from "../support/chaos.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { fetchFlags, ImapClient } from "../support/imap-client.ts";
import { expectKept } from "../support/kept.ts";
import { Ledger, ledgerMessage } from "../support/ledger.ts";
import { compareReplicas } from "../support/replicas.ts";

/** Where copies of one message are, and its flags in INBOX. */
interface Place {
  readonly inbox: number;
  readonly archive: number;
  readonly flags: readonly string[];
}

interface Tracked {
  readonly uid: number;
  /** One when all is known; two after a change without an answer, which is the message's last. */
  possible: readonly Place[];
}

const seed = Number(process.env.PABAL_TEST_SEED ?? Date.now() % 1_000_000);
const loadMs = process.env.PABAL_TEST_LONG === "1" ? 120_000 : 15_000;
let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 8, set: ["log.level=warn", "limits.rpc=5s"] });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

test("each acknowledged APPEND, STORE, COPY, MOVE and EXPUNGE survives kill -9 of nodes", {
  timeout: 240_000,
}, async (context) => {
  const ledger = new Ledger(join(cluster.folder, "ledger"));
  const { users, nodes } = cluster.ports;
  const end = performance.now() + loadMs;
  const random = seeded(seed);
  let kills = 0;
  const killer = (async () => {
    while (performance.now() < end) {
      await wait(500 + random() * 1500);
      await cluster.restart(nodes[Math.floor(random() * nodes.length)]?.id ?? "n1");
      kills++;
    }
  })();
  const tracked = await Promise.all(
    users.map((user, n) => changeMail(user, seeded(seed + 1 + n), end, ledger)),
  );
  await killer;
  await cluster.settled();
  const wrong: string[] = [];
  let changes = 0;
  for (const [n, user] of users.entries()) {
    const { messages, acknowledged } = tracked[n] ?? {
      messages: new Map<string, Tracked>(),
      acknowledged: 0,
    };
    changes += acknowledged;
    for (const gateway of ["g1", "g2"]) {
      const found = await places(user, gateway);
      for (const [id, { possible }] of messages) {
        const now = found.get(id) ?? { inbox: 0, archive: 0, flags: [] };
        found.delete(id);
        if (!possible.some((place) => isSame(place, now)))
          wrong.push(
            `${gateway} ${user} ${id}: ${JSON.stringify(now)}, not ${JSON.stringify(possible)}`,
          );
      }
      for (const id of found.keys()) wrong.push(`${gateway} ${user}: ${id} was never sent`);
    }
  }
  ledger.close();
  const folders = nodes;
  const shards = await cluster.shards();
  expect((await cluster.stop()).status).toBe(0);
  const replicas = await compareReplicas(folders, shards);
  process.stdout.write(
    `durability: seed ${seed}, ${changes} changes acknowledged, ${kills} kills\n`,
  );
  expectKept(context, [...wrong, ...replicas]);
  expect(kills).toBeGreaterThan(1);
  expect(changes).toBeGreaterThan(50);
});

async function changeMail(
  user: string,
  random: () => number,
  end: number,
  ledger: Ledger,
): Promise<{ messages: Map<string, Tracked>; acknowledged: number }> {
  const messages = new Map<string, Tracked>();
  let [serial, acknowledged] = [0, 0];
  let client: ImapClient | undefined;
  const sent = async (...parts: (string | Buffer)[]): Promise<string | undefined> => {
    try {
      const reply = await client?.command(...parts);
      if (reply?.status === "BAD") throw new Error(`BAD ${reply.text}`, { cause: "ours" });
      return reply?.status === "OK"
        ? [reply.text, ...reply.untagged.map(({ text }) => text)].join("\n")
        : undefined;
    } catch (error) {
      if (error instanceof Error && error.cause === "ours") throw error;
      client?.close();
      client = undefined;
      return undefined;
    }
  };
  while (performance.now() < end) {
    if (client === undefined) {
      client = await open(user, random() < 0.5 ? "g1" : "g2");
      if (client === undefined) await wait(100);
      continue;
    }
    const free = [...messages].filter(
      ([, { possible }]) => possible.length === 1 && possible[0]?.inbox === 1,
    );
    const [id, message] = free[Math.floor(random() * free.length)] ?? ["", undefined];
    if (message === undefined || random() < 0.3) {
      const fresh = `${user}-${serial++}`;
      const flags = random() < 0.5 ? ["\\Flagged"] : [];
      const answer = await sent(`APPEND INBOX (${flags.join(" ")}) `, ledgerMessage(fresh, "kept"));
      const uid = Number(/APPENDUID \d+ (\d+)/.exec(answer ?? "")?.[1] ?? 0);
      const place = { inbox: 1, archive: 0, flags };
      const nothing = { inbox: 0, archive: 0, flags: [] };
      messages.set(fresh, { uid, possible: answer === undefined ? [nothing, place] : [place] });
      if (answer === undefined) continue;
      acknowledged++;
      ledger.write(["append", fresh, uid]);
      continue;
    }
    const before = message.possible[0];
    if (before === undefined) throw new Error("a free message has a place");
    const [command, after] = chooseChange(message.uid, before, random);
    const answer = await sent(command);
    message.possible = answer === undefined ? [before, after] : [after];
    if (answer === undefined) continue;
    acknowledged++;
    ledger.write([command, id]);
  }
  client?.close();
  return { messages, acknowledged };
}

function chooseChange(uid: number, before: Place, random: () => number): readonly [string, Place] {
  const { inbox, archive, flags } = before;
  const kind = random();
  if (kind < 0.4) {
    const flag = ["\\Seen", "\\Answered", "$Work", "later"][Math.floor(random() * 4)] ?? "x";
    return [
      `UID STORE ${uid} +FLAGS (${flag})`,
      { inbox, archive, flags: [...new Set([...flags, flag])] },
    ];
  }
  if (kind < 0.5) return [`UID STORE ${uid} FLAGS ()`, { inbox, archive, flags: [] }];
  if (kind < 0.7) return [`UID COPY ${uid} Archive`, { inbox, archive: archive + 1, flags }];
  if (kind < 0.85)
    return [`UID MOVE ${uid} Archive`, { inbox: 0, archive: archive + 1, flags: [] }];
  if (flags.includes("\\Deleted")) return [`UID EXPUNGE ${uid}`, { inbox: 0, archive, flags: [] }];
  return [
    `UID STORE ${uid} +FLAGS (\\Deleted)`,
    { inbox, archive, flags: [...flags, "\\Deleted"] },
  ];
}

async function open(user: string, gateway: string): Promise<ImapClient | undefined> {
  const { password } = cluster.ports;
  let client: ImapClient | undefined;
  try {
    client = await ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
    await client.ok("SELECT INBOX");
    return client;
  } catch {
    client?.close();
    return undefined;
  }
}

async function places(user: string, gateway: string): Promise<Map<string, Place>> {
  const { password } = cluster.ports;
  const client = await ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
  const found = new Map<string, Place>();
  for (const mailbox of ["INBOX", "Archive"] as const) {
    await client.ok(`SELECT ${mailbox}`);
    const { untagged } = await client.ok(
      "UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (X-Ledger)])",
    );
    for (const line of untagged) {
      const id = /X-Ledger: (\S+)/.exec(line.literals[0]?.toString("latin1") ?? "")?.[1];
      if (id === undefined) continue;
      const { inbox, archive, flags } = found.get(id) ?? { inbox: 0, archive: 0, flags: [] };
      found.set(
        id,
        mailbox === "INBOX"
          ? {
              inbox: inbox + 1,
              archive,
              flags: fetchFlags(line).filter((flag) => flag !== "\\Recent"),
            }
          : { inbox, archive: archive + 1, flags },
      );
    }
  }
  await client.logout();
  return found;
}

function isSame(a: Place, b: Place): boolean {
  return (
    a.inbox === b.inbox &&
    a.archive === b.archive &&
    a.flags.toSorted().join(" ") === b.flags.toSorted().join(" ")
  );
}
