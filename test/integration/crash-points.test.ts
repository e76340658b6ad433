// F5: members die (SIGKILL) at each named point of a delivery's way, one after the other, while clients
// go on sending; a message without an answer is sent again as it was. docs/crash-points.md says what a
// death may leave behind; in the end each message is there exactly once. The spool's points are in
// test/unit/store/crash-points.test.ts.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, test } from "vitest";
import { crashFolder } from "../../src/cli/crash-points.ts";
import { checkByImap } from "../support/check-ledger.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { tellFigures } from "../support/figures.ts";
import { expectKept } from "../support/kept.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { SmtpClient } from "../support/smtp-client.ts";

/** The first point of each node needs the roles of a fresh cluster; the others come as roles move. */
const plan: Readonly<Record<string, readonly string[]>> = {
  g1: ["gateway.beforeSend", "gateway.afterReply", "gateway.afterSend"],
  g2: ["gateway.beforeReply", "gateway.beforeConfirm"],
  n1: ["primary.beforeAppend", "secondary.afterFsync", "primary.afterCommit"],
  n2: ["primary.afterAppend", "secondary.beforeFsync", "confirm.beforeAppend"],
  n3: ["primary.afterShip", "confirm.afterCommit", "primary.afterFsync"],
};
/** So many that a node with a third of the primaries has some of them, whichever shards these are. */
const userCount = 48;
const senders = 6;
/** A quiet machine takes 25 s, one with a load of 12 up to 110 s. */
const loadMs = 180_000;

let cluster: DevCluster;
beforeAll(async () => {
  process.env.PABAL_CRASH_AT = Object.entries(plan)
    .map(([member, points]) => `${member}=${points.join(",")}`)
    .join(";");
  try {
    cluster = await DevCluster.start({
      users: userCount,
      restartAfter: "100ms",
      set: ["log.level=warn"],
      startMs: 80_000,
    });
  } finally {
    delete process.env.PABAL_CRASH_AT;
  }
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

/** Points at which no member has died yet. */
function missing(): readonly string[] {
  return Object.entries(plan).flatMap(([member, points]) =>
    points.filter((point) => !existsSync(join(cluster.data, member, crashFolder, point))),
  );
}

/** Sends until every point was reached; each message until it is acknowledged. */
async function send(ledger: Ledger, number: number, untilMs: number): Promise<void> {
  const { users, gateways } = cluster.ports;
  let client: SmtpClient | undefined;
  for (let turn = 0; missing().length > 0 && performance.now() < untilMs; turn++) {
    const id = `${number}-${turn}`;
    const user = users[(number + turn * senders) % users.length] ?? "";
    const message = ledgerMessage(id, `message ${id}`);
    const sent = { id, user, hash: hashOf(message) };
    // Nobody stays with one gateway: the others' points would not be reached.
    if (turn % 5 === 4) await client?.quit().catch(() => undefined);
    for (let tries = 0; !ledger.accepted.has(id); tries++) {
      if (performance.now() > untilMs + 30_000) throw new Error(`${id} was never accepted`);
      if (client === undefined || client.isClosed) {
        const gateway = gateways[(number + turn + tries) % gateways.length];
        client = await SmtpClient.connect(gateway?.smtp ?? 0).catch(() => undefined);
        if (client === undefined) {
          await wait(20);
          continue;
        }
      }
      const outcome = await client.deliver({ to: [user], message });
      if (outcome.kind === "accepted") ledger.accept(sent);
      else {
        ledger.count(outcome.kind === "refused" ? outcome.reply : outcome.why);
        await wait(20);
      }
    }
  }
  await client?.quit().catch(() => undefined);
}

test("a death at any point loses nothing and stores nothing twice", {
  timeout: 300_000,
}, async (context) => {
  const ledger = new Ledger(join(cluster.folder, "ledger"));
  const untilMs = performance.now() + loadMs;
  await Promise.all(Array.from({ length: senders }, (_, number) => send(ledger, number, untilMs)));
  expectKept(context, missing(), `${ledger.accepted.size} messages`);
  await cluster.ready();
  expectKept(context, await checkByImap(cluster, ledger));
  const points = Object.values(plan).flat().length;
  const { size } = ledger.accepted;
  tellFigures(`F5: died at ${points} points, ${size} acknowledged, 0 lost, 0 duplicated`);
  ledger.close();
});
