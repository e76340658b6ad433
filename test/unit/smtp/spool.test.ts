// Recipients whose shards are away, answers that get lost, and messages under way when the gateway
// stops: what the client is told, and what is stored in the end.

import { afterEach, describe, expect, test } from "vitest";
import { MailError } from "../../../src/mail/errors.ts";
import type { DeliverRequest, MailStore } from "../../../src/mail/mail-store.ts";
import type { SpoolRequest } from "../../../src/mail/spool.ts";
import type { LineClient } from "../../support/line-client.ts";
import {
  deliver,
  readReply,
  say,
  startTestSmtp,
  type TestSmtp,
  type TestSmtpOptions,
  until,
} from "./support.ts";

let smtp: TestSmtp;
afterEach(() => smtp.close());

const both = ["u1@pabal.test", "u2@pabal.test"];
const mail = "Subject: x\r\nMessage-ID: <1@example.org>\r\n\r\nwords\r\n.\r\n";
const large = `Subject: large\r\n\r\n${`${"x".repeat(78)}\r\n`.repeat(5000)}.\r\n`;

/** A store of which some methods are replaced. */
function over(store: MailStore, methods: Partial<MailStore>): MailStore {
  return new Proxy(store, {
    get: (target, name: keyof MailStore) => methods[name] ?? target[name].bind(target),
  });
}

interface World {
  /** Shards whose primaries do not answer. */
  readonly away: Set<number>;
  spoolRefuses: boolean;
  readonly asked: DeliverRequest[];
  readonly spooled: SpoolRequest[];
}

async function start(options: TestSmtpOptions = {}): Promise<World> {
  const world: World = { away: new Set(), spoolRefuses: false, asked: [], spooled: [] };
  const unavailable = (): MailError => new MailError({ code: "UNAVAILABLE", why: "a test" });
  smtp = await startTestSmtp({
    ...options,
    wrap: (store) =>
      over(store, {
        deliver: async (request, signal) => {
          world.asked.push(request);
          if (world.away.has(request.shard)) throw unavailable();
          return store.deliver(request, signal);
        },
        writeBlob: async (shard, id, chunks, signal) => {
          const at = world.away.has(shard) ? 2 : shard;
          return { ...(await store.writeBlob(shard, id, chunks, signal)), shard: at as never };
        },
        spool: async (request, signal) => {
          if (world.spoolRefuses) throw unavailable();
          world.spooled.push(request);
          return store.spool(request, signal);
        },
      }),
  });
  return world;
}

/** Everything up to the final dot, which is sent; the answer is not waited for. */
async function send(client: LineClient, data: string, recipients: readonly string[]) {
  await say(client, "MAIL FROM:<a@example.org>");
  for (const recipient of recipients) await say(client, `RCPT TO:<${recipient}>`);
  await say(client, "DATA");
  client.send(data);
}

describe("a shard that is away", () => {
  test("its recipients' mail goes to the spool under the same ids: 250", async () => {
    const world = await start();
    world.away.add(1);
    const client = await smtp.greeted();
    expect(await deliver(client, mail, both)).toMatch(/^250 2\.0\.0 /);
    const [spooled] = world.spooled;
    const tried = world.asked.find(({ shard }) => shard === 1);
    expect(spooled?.parts).toMatchObject([{ shard: 1, opId: tried?.opId }]);
    expect(spooled?.parts[0]?.recipients).toMatchObject([
      { address: both[0], fingerprint: tried?.recipients[0]?.fingerprint },
    ]);
    expect(spooled?.deliveryId).toBe(tried?.deliveryId);
    expect(tried?.patienceMs).toBe(2000);
    for (const name of both) expect(await smtp.inbox(name)).toHaveLength(1);
  });

  test("and a spool that can't take it: 451 for all, and the retry stores nothing twice", async () => {
    const world = await start();
    world.away.add(1);
    world.spoolRefuses = true;
    const client = await smtp.greeted();
    expect(await deliver(client, mail, both)).toMatch(/^451 4\.3\.2 /);
    world.away.clear();
    expect(await deliver(client, mail, both)).toMatch(/^250 /);
    for (const name of both) expect(await smtp.inbox(name)).toHaveLength(1);
  });

  test("the spool is not asked when another recipient is put off anyway", async () => {
    const world = await start();
    world.away.add(1);
    smtp.services.store.updateAccount(await accountOf("u2@pabal.test"), { quotaBytes: 1 });
    const client = await smtp.greeted();
    expect(await deliver(client, mail, both)).toMatch(/^4/);
    expect(world.spooled).toEqual([]);
  });

  test("LMTP: each recipient has its own answer", async () => {
    const world = await start({ kind: "lmtp" });
    world.away.add(1);
    world.spoolRefuses = true;
    const client = await smtp.greeted();
    expect(await deliver(client, mail, both)).toMatch(/^451 4\.3\.2 /);
    expect(await readReply(client)).toMatch(/^250 2\.0\.0 /);
    world.spoolRefuses = false;
    expect(await deliver(client, mail, ["u1@pabal.test"])).toMatch(/^250 2\.0\.0 /);
    for (const name of both) expect(await smtp.inbox(name)).toHaveLength(1);
  });

  test("a large message is spooled from where its body lies", async () => {
    const world = await start();
    world.away.add(1);
    const client = await smtp.greeted();
    expect(await deliver(client, large, ["u1@pabal.test"])).toMatch(/^250 /);
    expect(world.asked).toEqual([]);
    expect(world.spooled[0]?.source).toMatchObject({ kind: "blob", blob: { shard: 2 } });
    expect(await smtp.inbox()).toHaveLength(1);
  });

  test("a sender of ours would hear of a failure, others and bounces would not", async () => {
    const world = await start();
    world.away.add(1);
    const client = await smtp.greeted();
    for (const sender of ["u2@pabal.test", "a@example.org", ""]) {
      await say(client, `MAIL FROM:<${sender}>`);
      await say(client, "RCPT TO:<u1@pabal.test>");
      await say(client, "DATA");
      client.send(`Subject: from ${sender}\r\n\r\n.\r\n`);
      expect(await readReply(client)).toMatch(/^250 /);
    }
    const told = await accountOf("u2@pabal.test");
    expect(world.spooled.map(({ bounceTo }) => bounceTo?.account)).toEqual([
      told,
      undefined,
      undefined,
    ]);
  });
});

describe("an answer that may be lost", () => {
  test("a reset behind the final dot: the same again is stored once", async () => {
    await start();
    const client = await smtp.greeted();
    await send(client, mail, both);
    await until(async () => (await smtp.inbox("u2@pabal.test")).length === 1);
    client.reset();
    const again = await smtp.greeted();
    expect(await deliver(again, mail, both)).toMatch(/^250 /);
    for (const name of both) expect(await smtp.inbox(name)).toHaveLength(1);
  });

  test("a client that heard its 250 may send the same again: it is new mail", async () => {
    await start();
    const client = await smtp.greeted();
    expect(await deliver(client, mail)).toMatch(/^250 /);
    expect(await deliver(client, mail)).toMatch(/^250 /);
    expect(await smtp.inbox()).toHaveLength(2);
  });

  test("a clean end behind the 250 counts as heard, a reset does not", async () => {
    await start();
    const clean = await smtp.greeted();
    expect(await deliver(clean, mail)).toMatch(/^250 /);
    clean.end();
    await clean.readEnd();
    const reset = await smtp.greeted();
    expect(await deliver(reset, mail)).toMatch(/^250 /);
    expect(await smtp.inbox()).toHaveLength(2);
    reset.reset();
    expect(await deliver(await smtp.greeted(), mail)).toMatch(/^250 /);
    expect(await smtp.inbox()).toHaveLength(2);
  });

  test("a message that was expunged meanwhile is stored again", async () => {
    await start();
    const client = await smtp.greeted();
    expect(await deliver(client, mail)).toMatch(/^250 /);
    client.reset();
    const { store } = smtp.services;
    const who = { account: await accountOf("u1@pabal.test"), shard: 1 as never, credVersion: 1 };
    const never = new AbortController().signal;
    const { info } = await store.openMailbox(who, { name: "INBOX", claimRecent: false }, never);
    const change = { opId: "f".repeat(32) as never, retry: false };
    await store.expunge(who, { ...change, mailbox: info.id, force: true }, never);
    expect(await deliver(await smtp.greeted(), mail)).toMatch(/^250 /);
    expect(await smtp.inbox()).toHaveLength(1);
  });

  test("another sender, recipient or a changed byte is another message", async () => {
    await start();
    const lose = async (sender: string, recipient: string, data: string): Promise<void> => {
      const client = await smtp.greeted();
      await say(client, `MAIL FROM:<${sender}>`);
      await say(client, `RCPT TO:<${recipient}>`);
      await say(client, "DATA");
      client.send(data);
      expect(await readReply(client)).toMatch(/^250 /);
      client.reset();
    };
    await lose("a@example.org", "u1@pabal.test", mail);
    await lose("b@example.org", "u1@pabal.test", mail);
    await lose("a@example.org", "alias@pabal.test", mail);
    await lose("a@example.org", "u1@pabal.test", mail.replace("words", "wordS"));
    await lose("a@example.org", "u1@pabal.test", mail);
    expect(await smtp.inbox()).toHaveLength(4);
  });
});

describe("a gateway that stops", () => {
  test("a delivery that is under way is answered, not just cut off", async () => {
    let asked = false;
    smtp = await startTestSmtp({
      wrap: (store) =>
        over(store, {
          deliver: (_request, signal) =>
            new Promise((_resolve, reject) => {
              asked = true;
              const fail = (): void =>
                reject(new MailError({ code: "UNAVAILABLE", why: "a test" }));
              signal.addEventListener("abort", fail, { once: true });
            }),
        }),
    });
    const client = await smtp.greeted();
    await send(client, mail, ["u1@pabal.test"]);
    await until(() => asked);
    const limit = new AbortController();
    const closed = smtp.listener.close(limit.signal);
    limit.abort();
    expect(await readReply(client)).toMatch(/^451 4\.3\.2 /);
    expect(await readReply(client)).toMatch(/^421 4\.3\.2 /);
    await closed;
  });
});

async function accountOf(name: string) {
  const found = [...smtp.services.store.accounts.values()].find(({ row }) => row.name === name);
  if (found === undefined) throw new Error(`no account ${name}`);
  return found.row.account;
}
