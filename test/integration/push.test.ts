// Changes travel between gateways: new mail and flags reach sessions on the other gateway at once.

import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ users: 2 });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

test("EXISTS reaches IDLE on the other gateway right after the 250", async () => {
  const { password } = cluster.ports;
  const idler = await ImapClient.connect(cluster.gateway("g2").imap, { user: "u1", password });
  await idler.ok("SELECT INBOX");
  await idler.idle();
  const sender = await SmtpClient.connect(cluster.gateway("g1").smtp);
  const waits: number[] = [];
  for (let n = 1; n <= 20; n++) {
    // The two may arrive in either order; what counts is how long after the 250 the client knows.
    const seen = idler
      .untilLine(new RegExp(`^\\* ${n} EXISTS`), 10_000)
      .then(() => performance.now());
    const outcome = await sender.deliver({
      to: ["u1@pabal.test"],
      message: ledgerMessage(`push-${n}`, "new"),
    });
    const acknowledged = performance.now();
    expect(outcome.kind).toBe("accepted");
    waits.push(Math.max(0, (await seen) - acknowledged));
  }
  waits.sort((a, b) => a - b);
  process.stdout.write(
    `push: EXISTS after the 250: p50 ${waits[9]?.toFixed(1)} ms, p95 ${waits[18]?.toFixed(1)} ms\n`,
  );
  expect(waits[18]).toBeLessThan(500);
  await idler.done();
  await idler.logout();
  await sender.quit();
});

test("flags, keywords and expunges made on one gateway appear on the other", async () => {
  const { password } = cluster.ports;
  const here = await ImapClient.connect(cluster.gateway("g1").imap, { user: "u2", password });
  const there = await ImapClient.connect(cluster.gateway("g2").imap, { user: "u2", password });
  for (const name of ["one", "two"]) await here.ok("APPEND INBOX ", ledgerMessage(name, name));
  await here.ok("SELECT INBOX");
  await there.ok("SELECT INBOX");
  await there.idle();
  await here.ok("STORE 1 +FLAGS (\\Seen $Work)");
  const told = await there.untilLine(/^\* 1 FETCH .*FLAGS/, 5000);
  expect(told.text).toContain("\\Seen");
  expect(told.text).toContain("$Work");
  await here.ok("STORE 1 +FLAGS (\\Deleted)");
  await here.ok("EXPUNGE");
  await there.untilLine(/^\* 1 EXPUNGE$/, 5000);
  await there.done();
  // And back, without IDLE: at the next command.
  await there.ok("STORE 1 +FLAGS (\\Answered)");
  const { untagged } = await here.ok("NOOP");
  expect(untagged.map(({ text }) => text).join("\n")).toMatch(/\* 1 FETCH .*\\Answered/);
  await here.logout();
  await there.logout();
});
