// Mail for users whose nodes are all away is accepted and kept elsewhere (F4), and a message whose
// answer was lost is stored once, through whichever gateway it comes again (F17).

import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkByImap } from "../support/check-ledger.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { tellFigures } from "../support/figures.ts";
import { expectKept } from "../support/kept.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
let ledger: Ledger;
beforeAll(async () => {
  cluster = await DevCluster.start({
    users: 48, // So many that some of them have n1 and n2.
    nodes: 4,
    restartAfter: "never",
    startMs: 80_000,
    set: ["log.level=warn"],
  });
  ledger = new Ledger(join(cluster.folder, "ledger"));
}, 90_000);
afterAll(async () => {
  ledger.close();
  await cluster.destroy();
});

/** Sends what is a repetition, if it is one, until it is accepted. */
async function accepted(user: string, id: string, withinMs: number): Promise<void> {
  const message = ledgerMessage(id, `message ${id}`);
  const { gateways } = cluster.ports;
  let tries = 0;
  await until(`${id} to be accepted`, withinMs, async () => {
    const gateway = gateways[tries++ % gateways.length];
    const client = await SmtpClient.connect(gateway?.smtp ?? 0);
    const outcome = await client.deliver({ to: [user], message });
    client.close();
    return outcome.kind === "accepted" ? true : undefined;
  });
  ledger.accept({ id, user, hash: hashOf(message) });
}

/** The whole message, then a reset in place of waiting for the answer. */
async function sendAndReset(user: string, id: string): Promise<void> {
  const socket = connect({ port: cluster.gateway("g1").smtp, host: "127.0.0.1" });
  const replies = socket[Symbol.asyncIterator]();
  const lines = ["EHLO client.test", "MAIL FROM:<sender@example.org>", `RCPT TO:<${user}>`, "DATA"];
  await replies.next();
  for (const line of lines) {
    socket.write(`${line}\r\n`);
    await replies.next();
  }
  await new Promise<void>((sent) => {
    socket.write(Buffer.concat([ledgerMessage(id, `message ${id}`), Buffer.from(".\r\n")]), () =>
      sent(),
    );
  });
  socket.resetAndDestroy();
}

test("a connection that is reset behind the final dot: the retry is no second copy", {
  timeout: 60_000,
}, async (context) => {
  const { users } = cluster.ports;
  await Promise.all(
    users.map(async (user, number) => {
      for (let turn = 0; turn < 3; turn++) {
        const id = `reset-${number}-${turn}`;
        await sendAndReset(user, id);
        await accepted(user, id, 20_000);
      }
    }),
  );
  expectKept(context, await checkByImap(cluster, ledger));
  const { size } = ledger.accepted;
  tellFigures(`F17: ${size} resets, ${size} acknowledged, 0 lost, 0 duplicated`);
});

test("with both nodes of some shards away all mail is accepted, and there when they are back", {
  timeout: 120_000,
  meta: { once: true },
}, async () => {
  await Promise.all([cluster.kill("n1"), cluster.kill("n2")]);
  const { users } = cluster.ports;
  await Promise.all(users.map((user, number) => accepted(user, `away-${number}`, 30_000)));
  const members = [cluster.serve("n1"), cluster.serve("n2")];
  try {
    await until("all mail in its mailboxes", 60_000, async () =>
      (await checkByImap(cluster, ledger).catch(() => ["away"])).length === 0 ? true : undefined,
    );
    const scraped = await Promise.all(
      ["n3", "n4"].map(async (id) => {
        const answer = await fetch(`http://127.0.0.1:${cluster.node(id).http}/metrics`);
        return Number(/^pabal_spool_delivered_total\S* (\d+)/m.exec(await answer.text())?.[1] ?? 0);
      }),
    );
    expect(scraped.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  } finally {
    await Promise.all(members.map((member) => member.stop("SIGKILL")));
  }
});
