// What a dialogue can't say: failures of the store, slow clients, deadlines, shutdown, TLS at once.

import { afterEach, expect, test } from "vitest";
import { defaultPop3Limits } from "../../../src/gateway/pop3/limits.ts";
import { startPop3 } from "../../../src/gateway/pop3/listener.ts";
import { MailError } from "../../../src/mail/errors.ts";
import type { MailFailure } from "../../../src/mail/errors.ts";
import type { MailStore } from "../../../src/mail/mail-store.ts";
import { LineClient } from "../../support/line-client.ts";
import type { LineClientOptions } from "../../support/line-client.ts";
import { deliver, startPop3Server } from "../../support/pop3-server.ts";
import type { Pop3Server, Pop3ServerOptions } from "../../support/pop3-server.ts";
import { testSecureContext } from "../../support/test-certificate.ts";

const message = "Subject: one\r\n\r\nbody\r\n";
const forEver = new AbortController().signal;
const open: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

test.each([
  ["UNAVAILABLE", { code: "UNAVAILABLE", why: "test" }, /^-ERR \[SYS\/TEMP\]/],
  ["DISK_FULL", { code: "DISK_FULL" }, /^-ERR \[SYS\/TEMP\]/],
  ["DAMAGED", { code: "DAMAGED", what: "body" }, /^-ERR \[SYS\/PERM\]/],
  ["INVALID", { code: "INVALID", why: "gone" }, /^-ERR The message is gone/],
] satisfies [string, MailFailure, RegExp][])(
  "a message that can't be opened (%s) is an error and the session goes on",
  async (_, failure, expected) => {
    const { client } = await login({
      messages: [message],
      wrapStore: (store) => failing(store, failure),
    });
    client.send("RETR 1\r\nNOOP\r\n");
    expect(await client.readLine()).toMatch(expected);
    expect(await client.readLine()).toBe("+OK Nothing done");
  },
);

test("a message that fails in the middle is never ended with a dot: the connection drops", async () => {
  const { client } = await login({
    messages: [message],
    wrapStore: (store) =>
      overridden(store, {
        async *readMessage() {
          yield Buffer.from("Subject: one\r\n\r\n".padEnd(100_000, "x"));
          throw new MailError({ code: "UNAVAILABLE", why: "test" });
        },
      }),
  });
  client.send("RETR 1\r\n");
  expect(await client.readLine()).toMatch(/^\+OK/);
  const rest: string[] = [];
  await expect(
    (async () => {
      for (;;) rest.push(await client.readLine());
    })(),
  ).rejects.toThrow("the server closed");
  expect(rest).not.toContain(".");
});

test("a QUIT whose deletion fails is an error, closes, and frees the maildrop", async () => {
  let broken = true;
  const { server, client } = await login({
    messages: [message],
    wrapStore: (store) =>
      overridden(store, {
        expunge(...args) {
          if (broken) return Promise.reject(new MailError({ code: "REPLICA_UNREACHABLE" }));
          return store.expunge(...args);
        },
      }),
  });
  client.send("DELE 1\r\nQUIT\r\n");
  expect(await client.readLine()).toMatch(/^\+OK/);
  expect(await client.readLine()).toBe("-ERR [SYS/TEMP] Some deleted messages may not be removed");
  await client.readEnd();
  broken = false;
  const again = await loginTo(server);
  again.send("DELE 1\r\nQUIT\r\n");
  await again.readLine();
  expect(await again.readLine()).toBe("+OK Bye");
  expect(await uidsOf(server)).toEqual([]);
});

test("QUIT deletes what the session named, not what IMAP flagged or what came later", async () => {
  const { server, client } = await login({ messages: [message, message, message] });
  const { store } = server.services;
  const inbox = await store.openMailbox(server.who, { name: "INBOX", claimRecent: false }, forEver);
  const change = { opId: server.services.nextOpId(), retry: false, mailbox: inbox.info.id };
  const flags = { uids: [2, 2], mode: "add", flags: ["\\Deleted"] } as const;
  await store.store(server.who, { ...change, ...flags }, forEver);
  await deliver(server.services, server.who, message);
  client.send("DELE 1\r\nQUIT\r\n");
  await client.readLine();
  expect(await client.readLine()).toBe("+OK Bye");
  expect(await uidsOf(server)).toEqual([2, 3, 4]);
});

test("what was retrieved whole and kept is \\Seen after QUIT, what was only listed or topped is not", async () => {
  const { server, client } = await login({ messages: [message, message, message] });
  client.send("RETR 2\r\nTOP 3 1\r\nQUIT\r\n");
  while ((await client.readLine()) !== "+OK Bye") continue;
  const { store } = server.services;
  const inbox = await store.openMailbox(server.who, { name: "INBOX", claimRecent: false }, forEver);
  const key = { kind: "flag", flag: "\\Seen", set: true } as const;
  const { uids } = await store.search(server.who, { mailbox: inbox.info.id, key }, forEver);
  expect([...uids]).toEqual([2]);
});

test("a maildrop in use is waited for a while", async () => {
  const { server, client } = await login({ limits: { lockWaitMs: 5_000 } });
  const other = await connect(server);
  await other.readLine();
  other.send("USER u1\r\nPASS secret\r\n");
  await other.readLine();
  client.close();
  expect(await other.readLine()).toMatch(/^\+OK 0/);
});

test("trouble with the directory is [SYS/TEMP], never [AUTH]; a disabled account [SYS/PERM]", async () => {
  const server = await start({});
  server.services.outage = true;
  const client = await connect(server);
  await client.readLine();
  client.send("USER u1\r\nPASS secret\r\n");
  await client.readLine();
  expect(await client.readLine()).toMatch(/^-ERR \[SYS\/TEMP\]/);
  server.services.outage = false;
  server.services.store.updateAccount(server.who.account, { state: "disabled" });
  client.send("USER u1\r\nPASS secret\r\n");
  await client.readLine();
  expect(await client.readLine()).toMatch(/^-ERR \[SYS\/PERM\]/);
});

test("a client that doesn't read stops the disk", async () => {
  let pieces = 0;
  const total = 2_000;
  const { client } = await login({
    messages: [message],
    wrapStore: (store) =>
      overridden(store, {
        async *readMessage() {
          for (; pieces < total; pieces++) yield Buffer.alloc(64 * 1024, "x\r\n");
          await Promise.resolve();
        },
      }),
  });
  client.pause();
  client.send("RETR 1\r\n");
  await stable(() => pieces);
  expect(pieces).toBeLessThan(total / 2); // Socket buffers take some MiB, never the 125 of the whole.
});

test("the time to log in is bounded, commands or not, and ends without a word", async () => {
  const server = await start({ limits: { authenticationMs: 200 } });
  const client = await connect(server);
  await client.readLine();
  client.send("CAPA\r\n");
  while ((await client.readLine()) !== ".") continue;
  client.send("NOO"); // A command that never ends.
  await client.readEnd();
});

test("an idle session after login ends without a word and deletes nothing", async () => {
  const { server, client } = await login({ messages: [message], limits: { commandMs: 200 } });
  client.send("DELE 1\r\n");
  await client.readLine();
  await client.readEnd();
  expect(await uidsOf(server)).toEqual([1]);
});

test("more connections than the limit are refused with the reason", async () => {
  const server = await start({ limits: { connectionsMax: 1 } });
  const first = await connect(server);
  await first.readLine();
  const second = await connect(server);
  expect(await second.readLine()).toMatch(/^-ERR \[SYS\/TEMP\] Too many connections/);
  await second.readEnd();
});

test("close lets a session finish until the signal aborts, then tells it and deletes nothing", async () => {
  const { server, client } = await login({ messages: [message] });
  client.send("DELE 1\r\n");
  await client.readLine();
  const deadline = new AbortController();
  const closed = server.listener.close(deadline.signal);
  await expect(connect(server)).rejects.toThrow("ECONNREFUSED");
  client.send("NOOP\r\n");
  expect(await client.readLine()).toBe("+OK Nothing done");
  deadline.abort();
  expect(await client.readLine()).toMatch(/^-ERR \[SYS\/TEMP\] The server is going down/);
  await closed;
  expect(await uidsOf(server)).toEqual([1]);
});

test("a port in use rejects", async () => {
  const server = await start({});
  const { services, port } = server;
  const options = { services, limits: defaultPop3Limits, address: "127.0.0.1", implicitTls: false };
  await expect(startPop3({ ...options, port })).rejects.toThrow("EADDRINUSE");
});

test("TLS from the first byte: no STLS, passwords are fine, a client without TLS is dropped", async () => {
  const secureContext = await testSecureContext();
  const options = { secureContext, implicitTls: true, plaintextLogin: false, messages: [message] };
  const server = await start({ ...options, limits: { tlsHandshakeMs: 300 } });
  const client = await connect(server, { implicitTls: true });
  await client.readLine();
  client.send("CAPA\r\nUSER u1\r\nPASS secret\r\nQUIT\r\n");
  const lines: string[] = [];
  while (lines.at(-1) !== "+OK Bye") lines.push(await client.readLine());
  expect(lines).not.toContain("STLS");
  expect(lines).toContain("SASL PLAIN LOGIN");
  const plain = await connect(server);
  plain.send("CAPA\r\n");
  await expect(plain.readLine()).rejects.toThrow(/closed/);
  const silent = await connect(server);
  await silent.readEnd();
});

async function start(options: Pop3ServerOptions): Promise<Pop3Server> {
  const server = await startPop3Server(options);
  open.push(() => server.close());
  return server;
}

async function connect(
  server: Pop3Server,
  options: Partial<LineClientOptions> = {},
): Promise<LineClient> {
  const client = await LineClient.connect({ port: server.port, ...options });
  open.push(() => client.close());
  return client;
}

async function login(
  options: Pop3ServerOptions,
): Promise<{ readonly server: Pop3Server; readonly client: LineClient }> {
  const server = await start(options);
  return { server, client: await loginTo(server) };
}

async function loginTo(server: Pop3Server): Promise<LineClient> {
  const client = await connect(server);
  await client.readLine();
  client.send("USER u1\r\nPASS secret\r\n");
  await client.readLine();
  expect(await client.readLine()).toMatch(/^\+OK/);
  return client;
}

async function uidsOf(server: Pop3Server): Promise<readonly number[]> {
  const { store } = server.services;
  const inbox = await store.openMailbox(server.who, { name: "INBOX", claimRecent: false }, forEver);
  return [...inbox.uids];
}

function failing(store: MailStore, failure: MailFailure): MailStore {
  return overridden(store, {
    readMessage: () => ({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new MailError(failure)) }),
    }),
  });
}

/** The store with some methods replaced. */
function overridden(store: MailStore, methods: Partial<MailStore>): MailStore {
  return new Proxy(store, {
    get(target, name: keyof MailStore): unknown {
      return methods[name] ?? target[name].bind(target);
    },
  });
}

/** Waits until a figure has stopped to grow. */
async function stable(figure: () => number): Promise<void> {
  let last = -1;
  for (let same = 0; same < 20; ) {
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
    same = figure() === last ? same + 1 : 0;
    last = figure();
  }
}
