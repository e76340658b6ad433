// What SMTP tests share: a listener over the fake store with two users, and what got stored.

import { defaultSmtpLimits, type SmtpLimits } from "../../../src/gateway/smtp/limits.ts";
import type { SmtpKind } from "../../../src/gateway/smtp/context.ts";
import { startSmtp } from "../../../src/gateway/smtp/start.ts";
import type { GatewayServices, Listener } from "../../../src/gateway/services.ts";
import type { MailStore } from "../../../src/mail/mail-store.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import { shardId, uid } from "../../../src/mail/ids.ts";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import { type FakeServices, fakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { testSecureContext } from "../../support/test-certificate.ts";

export interface TestSmtpOptions {
  readonly kind?: SmtpKind;
  readonly limits?: Partial<SmtpLimits>;
  readonly tls?: "no" | "starttls" | "implicit";
  readonly plaintextLogin?: boolean;
  readonly trustedProxies?: readonly string[];
  readonly clock?: Clock;
  /** Stands between the listener and the fake store. */
  readonly wrap?: (store: MailStore) => MailStore;
  readonly services?: (services: FakeServices) => GatewayServices;
}

export interface TestSmtp {
  readonly services: FakeServices;
  readonly listener: Listener;
  readonly port: number;
  /** A client that has read the greeting. */
  connect(): Promise<LineClient>;
  /** A client that has said EHLO (LHLO) and read the answer. */
  greeted(): Promise<LineClient>;
  /** Messages in a user's INBOX, oldest first, as stored. */
  inbox(name?: string): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Limits small enough to be reached in a test. */
const testLimits: SmtpLimits = {
  ...defaultSmtpLimits,
  messageBytesMax: 1_000_000,
  recipientsMax: 5,
};

/** u1 (alias `postmaster@`), u2 in another shard, and `off`, a disabled one; all with password `secret`. */
export async function startTestSmtp(options: TestSmtpOptions = {}): Promise<TestSmtp> {
  const store = new FakeMailStore();
  store.addAccount("u1@pabal.test", {
    password: "secret",
    aliases: ["postmaster@pabal.test", "alias@pabal.test"],
  });
  store.addAccount("u2@pabal.test", { password: "secret", shard: shardId(2) });
  const off = store.addAccount("off@pabal.test", { password: "secret" });
  store.updateAccount(off.who.account, { state: "disabled" });
  const tls = options.tls ?? "starttls";
  const services = fakeServices({
    store,
    plaintextLogin: options.plaintextLogin ?? true,
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    ...(tls === "no" ? {} : { secureContext: await testSecureContext() }),
  });
  const shown: GatewayServices = options.services?.(services) ?? services;
  const kind = options.kind ?? "relay";
  const listener = await startSmtp({
    services: options.wrap === undefined ? shown : { ...shown, store: options.wrap(store) },
    kind,
    limits: { ...testLimits, ...options.limits },
    address: "127.0.0.1",
    port: 0,
    implicitTls: tls === "implicit",
    ...(options.trustedProxies === undefined ? {} : { trustedProxies: options.trustedProxies }),
  });
  const connect = async (): Promise<LineClient> => {
    const client = await LineClient.connect({
      port: listener.port,
      implicitTls: tls === "implicit",
    });
    await client.readLine();
    return client;
  };
  return {
    services,
    listener,
    port: listener.port,
    connect,
    greeted: async () => {
      const client = await connect();
      client.send(`${kind === "lmtp" ? "LHLO" : "EHLO"} client.example.org\r\n`);
      await readReply(client);
      return client;
    },
    inbox: (name = "u1@pabal.test") => storedIn(store, name),
    close: () => listener.close(AbortSignal.abort()),
  };
}

/** All lines of the next reply; the last one decides. */
export async function readReply(client: LineClient): Promise<string> {
  for (;;) {
    const line = await client.readLine();
    if (line[3] !== "-") return line;
  }
}

/** Sends a command line and returns the reply's last line. */
export async function say(client: LineClient, line: string): Promise<string> {
  client.send(`${line}\r\n`);
  return readReply(client);
}

/** Sends a whole message; `data` must end as DATA has to. Returns the last reply. */
export async function deliver(
  client: LineClient,
  data: string | Buffer,
  recipients: readonly string[] = ["u1@pabal.test"],
): Promise<string> {
  await say(client, "MAIL FROM:<a@example.org>");
  for (const recipient of recipients) await say(client, `RCPT TO:<${recipient}>`);
  await say(client, "DATA");
  client.send(data);
  return readReply(client);
}

async function storedIn(store: FakeMailStore, name: string): Promise<readonly string[]> {
  const account = [...store.accounts.values()].find(({ row }) => row.name === name);
  if (account === undefined) throw new Error(`no account ${name}`);
  const who = { account: account.row.account, shard: account.row.shard, credVersion: 1 };
  const { signal } = new AbortController();
  const open = await store.openMailbox(who, { name: "INBOX", claimRecent: false }, signal);
  const messages: string[] = [];
  for (const one of open.uids) {
    const pieces: Uint8Array[] = [];
    const request = { mailbox: open.info.id, uid: uid(one), offset: 0 };
    for await (const piece of store.readMessage(who, request, signal)) pieces.push(piece);
    messages.push(Buffer.concat(pieces).toString("latin1"));
  }
  return messages;
}

/** What is below the trace headers that we put on top. */
export function withoutTrace(stored: string): string {
  return stored.replace(/^Return-Path:.*\r\nReceived:.*\r\n(?:\t.*\r\n)*/, "");
}

/** Resolves with the value once it stayed the same over 50 round trips of another session. */
export async function steady(other: LineClient, value: () => number): Promise<number> {
  let last = value();
  for (let same = 0; same < 50; same++) {
    const reply = await say(other, "NOOP");
    if (!reply.startsWith("250 ")) throw new Error(`the other session got ${reply}`);
    if (value() !== last) same = 0;
    last = value();
  }
  return last;
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Resolves when `holds` does; checks again after every turn of the loop, up to 5 s. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("what was waited for did not come");
    await turn();
  }
}
