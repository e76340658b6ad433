// A stress run: a cluster of real processes, random clients on its gateways, nodes killed, and everything
// looked through again and again while all are quiet.

import { loadavg } from "node:os";
import { seeded } from "../support/chaos.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { signalPid, until } from "../support/processes.ts";
import { audit, sizeOf } from "./audit.ts";
import { append, copyOrMove, expunge, prune, store } from "./changing.ts";
import { StressClient } from "./client.ts";
import { fetch, idle, noop, search, verify } from "./reading.ts";
import { leave, select, status } from "./selecting.ts";
import type { StressSession } from "./session.ts";
import { Gate, mailboxNames, World } from "./world.ts";

export interface StressOptions {
  readonly seconds: number;
  readonly clients: number;
  readonly gateways: number;
  readonly nodes: number;
  /** kill -9 of a random node every 5 to 10 s. */
  readonly kill: boolean;
  readonly seed: number;
  /** From one look at everything to the next. */
  readonly roundSeconds: number;
  /** Mean pause between two commands of a client. */
  readonly pauseMs: number;
  readonly say: (line: string) => void;
}

export interface StressReport {
  readonly figures: string;
  readonly violations: readonly string[];
  readonly kills: number;
  readonly commands: number;
}

type Action = (client: StressClient, session: StressSession) => Promise<void>;

const usersPerMailbox = 6;
/** A mailbox above this is pruned. */
const largeCount = 90;
const settledWithinMs = 180_000;

const withoutMailbox: readonly (readonly [number, Action])[] = [
  [10, select],
  [2, append],
  [1, status],
  [1, noop],
];
const withMailbox: readonly (readonly [number, Action])[] = [
  [22, store],
  [12, fetch],
  [10, append],
  [8, noop],
  [8, search],
  [7, copyOrMove],
  [6, expunge],
  [6, idle],
  [4, status],
  [4, verify],
  [4, select],
  [3, leave],
];

/** Runs to its end and looks everything through once more. @throws when the cluster can't be had. */
export async function runStress(options: StressOptions): Promise<StressReport> {
  const { clients, gateways, nodes, seed, say } = options;
  const users = Math.max(2, Math.ceil(clients / usersPerMailbox));
  const cluster = await DevCluster.start({
    gateways,
    nodes,
    users,
    restartAfter: "1s",
    startMs: 120_000,
  });
  const world = new World(seed, cluster.ports.password, say);
  const started = performance.now();
  const loads: number[] = [];
  const state = { kills: 0, messages: 0, audits: 0 };
  try {
    await makeMailboxes(cluster, world);
    const ports = cluster.ports.gateways.map(({ imap }) => imap);
    const everybody = Array.from({ length: clients }, (_, n) => {
      const user = cluster.ports.users[n % users] ?? "";
      return new StressClient(world, `c${n}`, user, ports, seeded(seed * 1000 + n));
    });
    const gate = new Gate(clients);
    const failed = (error: unknown): void => {
      const why = error instanceof Error ? error.stack : String(error);
      world.violate(`the run can't go on: ${why}`, []);
    };
    // The first node dies at once.
    await cluster.settled(settledWithinMs);
    const living = everybody.map((client) => live(client, gate, options).catch(failed));
    const pauses = { killing: false };
    const killing = options.kill
      ? killNodes(cluster, world, options, state, pauses).catch(failed)
      : undefined;
    try {
      const end = performance.now() + options.seconds * 1000;
      while (performance.now() < end && world.violations.length < 50) {
        const left = end - performance.now();
        await world.pause(Math.min(options.roundSeconds * 1000, left));
        loads.push(loadavg()[0] ?? 0);
        pauses.killing = true;
        await gate.whileAllWait(settledWithinMs, async () => {
          const listings = await audit(world, ports);
          await Promise.all(everybody.map((client) => client.compare(listings)));
          state.messages = sizeOf(listings);
          state.audits++;
        });
        pauses.killing = false;
        say(`${total(world)} commands, ${state.messages} messages, ${state.kills} kills`);
      }
    } catch (error) {
      failed(error);
    } finally {
      world.over.abort();
      await Promise.all([...living, killing]);
    }
    for (const client of everybody) client.drop();
    // What the members thought of it.
    if (world.violations.length > 0) tellTroubles(cluster, say);
  } finally {
    await cluster.destroy();
  }
  const load = loads.reduce((sum, value) => sum + value, 0) / Math.max(1, loads.length);
  const seconds = Math.round((performance.now() - started) / 1000);
  return {
    figures: figures(world, options, { ...state, load, seconds }),
    violations: world.violations,
    kills: state.kills,
    commands: total(world),
  };
}

/** The last warnings and errors of the members, and what is no log line: a crash. */
function tellTroubles(cluster: DevCluster, say: (line: string) => void): void {
  const lines = cluster.log().split("\n");
  const troubles = lines.filter((line) => /"level":[456]0|^\s+at |Error|ended with/.test(line));
  for (const line of troubles.slice(-30)) say(`log: ${line.slice(0, 600)}`);
}

async function makeMailboxes(cluster: DevCluster, world: World): Promise<void> {
  const { users, password, gateways } = cluster.ports;
  for (const user of users) {
    const client = await ImapClient.connect(gateways[0]?.imap ?? 0, { user, password });
    for (const name of mailboxNames) {
      if (name !== "INBOX") await client.ok(`CREATE ${name}`);
      world.mailbox(user, name);
    }
    await client.logout();
  }
}

async function live(client: StressClient, gate: Gate, options: StressOptions): Promise<void> {
  const { world } = client;
  for (;;) {
    await gate.pass();
    if (world.over.signal.aborted) return;
    try {
      const session = await client.connected();
      if (client.chance(0.008)) client.drop();
      else await choose(client, session)(client, session);
    } catch (error) {
      // Why a connection has ended was judged where it was heard.
      if (!(error instanceof Error)) throw error;
      if (error instanceof TypeError || error instanceof RangeError) throw error;
      if (client.session === undefined) world.unconnected++;
      await world.pause(200);
    }
    await world.pause(client.random() * 2 * options.pauseMs);
  }
}

function choose(client: StressClient, { view }: StressSession): Action {
  if (view !== undefined && !view.readOnly && view.count > largeCount && client.chance(0.2))
    return prune;
  const actions = view === undefined ? withoutMailbox : withMailbox;
  let at = client.below(actions.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, action] of actions) {
    at -= weight;
    if (at < 0) return action;
  }
  return noop;
}

/** One failure at a time: every shard has two whole copies again before the next. */
async function killNodes(
  cluster: DevCluster,
  world: World,
  { seed, say }: StressOptions,
  state: { kills: number },
  pauses: { readonly killing: boolean },
): Promise<void> {
  const random = seeded(seed);
  const nodes = cluster.ports.nodes.map(({ id }) => id);
  const { signal } = world.over;
  while (!signal.aborted) {
    await cluster.settled(settledWithinMs);
    if (state.kills > 0) await world.pause(5000 + random() * 5000);
    while (pauses.killing && !signal.aborted) await world.pause(50);
    if (signal.aborted) break;
    const node = nodes[Math.floor(random() * nodes.length)] ?? "n1";
    const pid = cluster.pid(node);
    signalPid(pid, "SIGKILL");
    state.kills++;
    say(`kill -9 of ${node}`);
    await until(`a new ${node}`, settledWithinMs, () =>
      cluster.pid(node) === pid ? undefined : true,
    );
  }
}

function total({ counts }: World): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

function figures(
  world: World,
  { clients, gateways, nodes, seed }: StressOptions,
  state: { kills: number; messages: number; audits: number; load: number; seconds: number },
): string {
  const kinds = [...world.counts]
    .toSorted(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(", ");
  const { sessions, refused, late, latestMs, violations, unconnected } = world;
  return (
    `stress: ${total(world)} commands (${kinds}) in ${state.seconds} s by ${clients} clients in ` +
    `${sessions} sessions, ${gateways} gateways, ${nodes} nodes, ${state.kills} kills, ` +
    `${state.audits} looks through ${state.messages} messages, ${refused} NO, ` +
    `${unconnected} connections refused, ${late} late news (longest ${Math.round(latestMs)} ms), ` +
    `load ${state.load.toFixed(0)}, seed ${seed}: ${violations.length} violations`
  );
}
