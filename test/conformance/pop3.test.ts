// POP3 over the local store on a real disk and over the routed store of a small cluster: the dialogues,
// and what becomes of a session whose account is revoked or whose node goes away.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defaultPop3Limits } from "../../src/gateway/pop3/limits.ts";
import { startPop3 } from "../../src/gateway/pop3/listener.ts";
import type { GatewayServices, Listener } from "../../src/gateway/services.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { lockMaildrop } from "../../src/store/maildrop.ts";
import { dialogueNames, runDialogueFile } from "../support/dialogue.ts";
import { LineClient } from "../support/line-client.ts";
import { localServices } from "../support/local-services.ts";
import { until } from "../support/mail-cluster.ts";
import { routedServices } from "../support/routed-services.ts";
import type { RoutedServices } from "../support/routed-services.ts";
import { addMessage } from "../unit/imap/support.ts";

interface Fixture {
  readonly services: GatewayServices;
  readonly who: Principal;
  close(): Promise<void>;
}

const messages = [
  "Subject: one\r\n\r\nfirst line\r\nsecond line\r\nthird line\r\n",
  "Subject: dots\r\n\r\n.\r\n..two\r\na.b\r\n.end",
  "Subject: bare\r\n\r\none\ntwo\n",
];

async function listen(services: GatewayServices): Promise<Listener> {
  return startPop3({
    services,
    limits: { ...defaultPop3Limits, lockWaitMs: 0 },
    address: "127.0.0.1",
    port: 0,
    implicitTls: false,
  });
}

pop3Conformance("the local store", localServices);
pop3Conformance("the routed store", async () => {
  const routed = await routedServices(1);
  const [services] = routed.gateways;
  if (services === undefined) throw new Error("no gateway");
  return { services, who: routed.who, close: () => routed.close() };
});

function pop3Conformance(name: string, open: () => Promise<Fixture>): void {
  describe(`pop3 over ${name}`, () => {
    let fixture: Fixture;
    let listener: Listener;
    beforeEach(async () => {
      fixture = await open();
      for (const message of messages) {
        await addMessage(fixture.services, fixture.who, "INBOX", message);
      }
      listener = await listen(fixture.services);
    });
    afterEach(async () => {
      await listener.close(AbortSignal.abort());
      await fixture.close();
    });

    const names = dialogueNames("pop3").filter((each) => !each.startsWith("tls-"));
    test.each(names)("%s", async (dialogue) => {
      const variables = await runDialogueFile("pop3", dialogue, { port: listener.port });
      expect(variables).toBeDefined();
    });
  });
}

describe("a pop3 session of a cluster", () => {
  let routed: RoutedServices;
  let listeners: Listener[];
  const clients: LineClient[] = [];
  beforeEach(async () => {
    routed = await routedServices(2);
    const [services] = routed.gateways;
    if (services === undefined) throw new Error("no gateway");
    for (const message of messages) await addMessage(services, routed.who, "INBOX", message);
    listeners = await Promise.all(routed.gateways.map(listen));
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await Promise.all(listeners.map((each) => each.close(AbortSignal.abort())));
    await routed.close();
  });

  /** A session of u1 through one of the gateways, and the answer to its PASS. */
  async function session(gateway: number): Promise<{ client: LineClient; answer: string }> {
    const port = listeners[gateway]?.port ?? 0;
    const client = await LineClient.connect({ port, timeoutMs: 20_000 });
    clients.push(client);
    await client.readLine();
    await ask(client, "USER u1");
    return { client, answer: await ask(client, "PASS secret") };
  }
  async function ask(client: LineClient, command: string): Promise<string> {
    client.send(`${command}\r\n`);
    return client.readLine();
  }
  const messageCount = async (): Promise<number> => {
    const [services] = routed.gateways;
    if (services === undefined) throw new Error("no gateway");
    const limit = AbortSignal.timeout(10_000);
    return (await services.store.mailboxStatus(routed.who, "INBOX", limit)).messages;
  };

  test("has the maildrop against sessions of other gateways", async () => {
    const { client, answer } = await session(0);
    expect(answer).toMatch(/^\+OK 3 /);
    expect((await session(1)).answer).toMatch(/^-ERR \[IN-USE\]/);
    expect(await ask(client, "QUIT")).toMatch(/^\+OK/);
    expect((await session(1)).answer).toMatch(/^\+OK 3 /);
  });

  test.each([
    ["password", "-ERR [AUTH] "],
    ["disable", "-ERR [SYS/PERM] "],
  ] as const)(
    "ends without being asked anything when its account is revoked: %s",
    async (how, words) => {
      const { client } = await session(0);
      expect(await ask(client, "DELE 1")).toMatch(/^\+OK/);
      await routed.revoke(how);
      expect((await client.readLine()).slice(0, words.length)).toBe(words);
      await client.readEnd();
    },
  );

  test("goes on when its node comes back, has the maildrop again, and then deletes", async () => {
    const { client } = await session(0);
    expect(await ask(client, "DELE 1")).toMatch(/^\+OK/);
    const primary = routed.cluster.primaryOf(0);
    await routed.cluster.killNode(primary);
    // Nobody has the maildrop now: the deletion waits until it is this session's again.
    const quit = ask(client, "QUIT");
    const { opened } = await routed.cluster.startNode(primary);
    expect(await quit).toMatch(/^\+OK/);
    await until(
      () => opened.engine.accounts.peek(routed.who.account)?.maildrop === undefined,
      "the maildrop is free",
    );
    expect(await messageCount()).toBe(2);
  });

  test("ends, and deletes nothing, when another took the maildrop while its node was away", async () => {
    const { client } = await session(0);
    expect(await ask(client, "DELE 1")).toMatch(/^\+OK/);
    const primary = routed.cluster.primaryOf(0);
    const { engine } = routed.cluster.node(primary).opened;
    const other = new AbortController();
    // What a node does whose turn as primary ends and comes back: all holds are lost. The first to
    // ask has it; here that is somebody else.
    engine.resetShard(routed.who.shard);
    await lockMaildrop(engine, routed.who, other.signal);
    await messageCount(); // An answer over the same link comes behind the word that the hold is lost.
    expect(await ask(client, "QUIT")).toMatch(/^-ERR \[SYS\/TEMP\]/);
    expect(await messageCount()).toBe(3);
    other.abort();
  });
});
