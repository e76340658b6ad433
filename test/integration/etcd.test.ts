// A whole cluster on etcd: mail goes on while etcd is away, a dead node is replaced once it is back,
// and members that were started meanwhile find it again.

import { expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

test("etcd is killed: mail goes on; when it is back, a dead node's users are served again", {
  timeout: 120_000,
}, async () => {
  const cluster = await DevCluster.start({
    coordinator: "etcd",
    users: 12,
    restartAfter: "4s",
    set: ["log.level=warn"],
    startMs: 80_000,
  });
  try {
    expect(cluster.ports.coordinator.kind).toBe("etcd");
    await everyone(cluster, "before");
    await cluster.kill("c1");
    await everyone(cluster, "while etcd is away");
    await until("etcd to be back", 20_000, () => (cluster.pid("c1") === 0 ? undefined : true));
    await cluster.kill("n1");
    await everyone(cluster, "after a node's death");
  } finally {
    await cluster.destroy();
  }
});

/** One message for each user, tried again as a sender would. */
async function everyone(cluster: DevCluster, what: string): Promise<void> {
  const { users } = cluster.ports;
  await Promise.all(
    users.map((user) =>
      until(`${user} to take mail ${what}`, 25_000, async () => {
        const client = await SmtpClient.connect(cluster.gateway().smtp);
        const message = ledgerMessage(`${what} ${user}`, what);
        const outcome = await client.deliver({ to: [user], message });
        client.close();
        return outcome.kind === "accepted" ? true : undefined;
      }),
    ),
  );
}
