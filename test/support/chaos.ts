// Load under failures: SMTP clients that keep a ledger while members are killed, stopped and started
// again at random, and readers that watch UIDs meanwhile. Judging the outcome is check-ledger.ts's.

import { setTimeout as wait } from "node:timers/promises";
import type { DevCluster } from "./dev-cluster.ts";
import { fetchNumber, ImapClient } from "./imap-client.ts";
import { hashOf, type Ledger, ledgerMessage } from "./ledger.ts";
import { signalPid, until } from "./processes.ts";
import { SmtpClient } from "./smtp-client.ts";

export interface ChaosOptions {
  readonly cluster: DevCluster;
  readonly ledger: Ledger;
  readonly messages: number;
  readonly connections: number;
  /** The load is spread over about this time. */
  readonly spreadMs: number;
  /** Mean time between two faults. */
  readonly faultEveryMs: number;
  readonly seed: number;
}

export interface ChaosFigures {
  readonly faults: Readonly<Record<string, number>>;
  readonly tries: number;
  readonly ms: number;
  /** What readers saw that must not be; empty when all was well. */
  readonly violations: readonly string[];
  /** Reads that readers finished while faults went on. */
  readonly reads: number;
}

/** Numbers in [0, 1) from a seed (mulberry32), so that a run's faults can be chosen again. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Runs until `messages` are acknowledged; every one of them is in the ledger. */
export async function runChaos(options: ChaosOptions): Promise<ChaosFigures> {
  const { cluster, ledger, messages, connections, seed } = options;
  const started = performance.now();
  const limit = started + options.spreadMs * 4 + 60_000;
  const run = { tries: 0, left: messages };
  const over = new AbortController();
  const faults = injectFaults(options, over.signal);
  const watchers = cluster.ports.gateways.map(({ id }) => watchUids(cluster, id, over.signal));
  try {
    await Promise.all(
      Array.from({ length: connections }, (_, n) =>
        send(options, run, seeded(seed + 1 + n), limit),
      ),
    );
  } finally {
    over.abort();
  }
  const seen = await Promise.all(watchers);
  if (ledger.accepted.size < messages)
    throw new Error(`only ${ledger.accepted.size} of ${messages} messages were acknowledged`);
  return {
    faults: await faults,
    tries: run.tries,
    ms: performance.now() - started,
    violations: seen.flatMap(({ violations }) => violations),
    reads: seen.reduce((sum, { reads }) => sum + reads, 0),
  };
}

async function send(
  { cluster, ledger, connections, messages, spreadMs, seed }: ChaosOptions,
  run: { tries: number; left: number },
  random: () => number,
  limit: number,
): Promise<void> {
  const { gateways, users } = cluster.ports;
  const pauseMs = (spreadMs * connections) / messages;
  const words = "the relay post rides on, horse after horse.\r\n.a line with a dot\r\n..two\r\n";
  let client: SmtpClient | undefined;
  while (run.left > 0) {
    run.left--;
    await wait(random() * 2 * pauseMs);
    for (let done = false; !done; ) {
      if (performance.now() > limit) return;
      const gateway = gateways[Math.floor(random() * gateways.length)];
      if (client === undefined || client.isClosed || random() < 0.1) {
        client?.close();
        client = await SmtpClient.connect(gateway?.smtp ?? 0).catch(() => undefined);
        if (client === undefined) {
          await wait(50);
          continue;
        }
      }
      const id = `${seed}-${run.tries++}`;
      const user = users[Math.floor(random() * users.length)] ?? "";
      const message = ledgerMessage(id, words.repeat(Math.floor(random() * 60)) + id);
      const sent = { id, user, hash: hashOf(message) };
      const outcome = await client.deliver({ to: [user], message });
      done = outcome.kind === "accepted";
      if (done) ledger.accept(sent);
      else if (outcome.kind === "unknown") ledger.unknown.set(id, sent);
      else ledger.refused.add(id);
      if (outcome.kind === "refused") ledger.count(outcome.reply);
      if (outcome.kind === "unknown") ledger.count(outcome.why);
    }
  }
  await client?.quit();
}

async function injectFaults(
  { cluster, faultEveryMs, seed }: ChaosOptions,
  over: AbortSignal,
): Promise<Record<string, number>> {
  const random = seeded(seed);
  const { nodes, gateways } = cluster.ports;
  const members = [...nodes, ...nodes, ...gateways].map(({ id }) => id);
  const counts: Record<string, number> = {};
  // On a busy machine a start takes seconds; with everything down all the time nothing is tested.
  const down = new Map<string, Promise<unknown>>();
  while (!over.aborted) {
    await wait(random() * 2 * faultEveryMs, undefined, { signal: over }).catch(() => undefined);
    if (down.size > 1) await Promise.race(down.values());
    if (over.aborted) break;
    const id = members[Math.floor(random() * members.length)] ?? "n1";
    const pid = cluster.pid(id);
    const kind = random() < 0.6 ? "SIGKILL" : random() < 0.5 ? "SIGTERM" : "SIGSTOP";
    counts[`${kind} ${id.startsWith("n") ? "node" : "gateway"}`] =
      (counts[`${kind} ${id.startsWith("n") ? "node" : "gateway"}`] ?? 0) + 1;
    signalPid(pid, kind);
    if (kind === "SIGSTOP") {
      await wait(100 + random() * 500);
      signalPid(pid, "SIGCONT");
      continue;
    }
    const back = until(`a new ${id}`, 30_000, () => (cluster.pid(id) === pid ? undefined : true))
      .then(() => cluster.ready([id], 30_000))
      .finally(() => down.delete(id));
    down.set(id, back);
  }
  await Promise.all(down.values());
  return counts;
}

interface Watched {
  readonly violations: readonly string[];
  readonly reads: number;
}

/** Reads mailboxes again and again: a UID names one message for ever, UIDNEXT and MODSEQ never go back. */
async function watchUids(
  cluster: DevCluster,
  gateway: string,
  over: AbortSignal,
): Promise<Watched> {
  const { users, password } = cluster.ports;
  const named = new Map<string, string>();
  const highest = new Map<string, number>();
  const violations: string[] = [];
  let reads = 0;
  for (let turn = 0; !over.aborted; turn++) {
    const user = users[turn % users.length] ?? "";
    let client: ImapClient | undefined;
    try {
      client = await ImapClient.connect(cluster.gateway(gateway).imap, { user, password });
      const select = await client.ok("SELECT INBOX");
      const status = select.untagged.map(({ text }) => text).join("\n");
      for (const name of ["UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"]) {
        const now = Number(new RegExp(`\\[${name} (\\d+)`).exec(status)?.[1]);
        const before = highest.get(`${user} ${name}`) ?? now;
        if (!(now >= before)) violations.push(`${user}: ${name} went from ${before} to ${now}`);
        if (name === "UIDVALIDITY" && now !== before)
          violations.push(`${user}: UIDVALIDITY changed`);
        highest.set(`${user} ${name}`, now);
      }
      const { untagged } = await client.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Ledger)])");
      let last = 0;
      for (const line of untagged) {
        if (line.literals.length === 0) continue;
        const uid = fetchNumber(line, "UID");
        if (uid <= last) violations.push(`${user}: UID ${uid} after ${last}`);
        last = uid;
        const id = line.literals[0]?.toString("latin1").trim() ?? "";
        const before = named.get(`${user} ${uid}`) ?? id;
        if (before !== id) violations.push(`${user}: UID ${uid} named ${before}, then ${id}`);
        named.set(`${user} ${uid}`, id);
      }
      reads++;
    } catch {
      // A member is down; what matters is what is read when it answers.
      await wait(50);
    } finally {
      client?.close();
    }
  }
  return { violations, reads };
}
