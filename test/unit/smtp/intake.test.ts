// Messages that don't fit into memory, slow and failing stores, clients that go away.
import { connect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { MailError } from "../../../src/mail/errors.ts";
import type { MailStore } from "../../../src/mail/mail-store.ts";
import type { LineClient } from "../../support/line-client.ts";
import {
  deliver,
  readReply,
  say,
  startTestSmtp,
  steady,
  type TestSmtp,
  until,
  withoutTrace,
} from "./support.ts";

let smtp: TestSmtp;
afterEach(() => smtp.close());

/** A gate that stays shut until it is opened. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** A store of which some methods are replaced. */
function over(store: MailStore, methods: Partial<MailStore>): MailStore {
  return new Proxy(store, {
    get: (target, name: keyof MailStore) => methods[name] ?? target[name].bind(target),
  });
}

async function begin(client: LineClient, recipients: readonly string[]): Promise<void> {
  await say(client, "MAIL FROM:<a@example.org>");
  for (const recipient of recipients) await say(client, `RCPT TO:<${recipient}>`);
  await say(client, "DATA");
}

const both = ["u1@pabal.test", "u2@pabal.test"];
const line = `${"x".repeat(78)}\r\n`;
const large = `Subject: large\r\n\r\n${line.repeat(10_000)}`;

describe("a large message", () => {
  test("goes to every shard's disk and arrives byte for byte", async () => {
    smtp = await startTestSmtp();
    const client = await smtp.greeted();
    expect(await deliver(client, `${large}.\r\n`, both)).toMatch(/^250 /);
    for (const name of both) {
      const [stored = ""] = await smtp.inbox(name);
      expect(withoutTrace(stored) === large).toBe(true);
    }
  });

  test("a slow store holds the client back, and memory stays small", async () => {
    const { opened, open } = gate();
    let taken = 0;
    smtp = await startTestSmtp({
      limits: { messageBytesMax: 60_000_000 },
      wrap: (store) =>
        over(store, {
          writeBlob: async (shard, id, chunks) => {
            let sizeBytes = 0;
            for await (const chunk of chunks) {
              sizeBytes += chunk.length;
              taken = Math.max(taken, sizeBytes);
              if (sizeBytes > 1_000_000) await opened;
            }
            return { shard, id, sizeBytes, sha256: "" };
          },
          deliver: (request) =>
            request.source.kind === "blob" && request.source.blob.sizeBytes > 50_000_000
              ? Promise.reject(new MailError({ code: "DISK_FULL" }))
              : Promise.reject(new Error("a blob of the whole message was expected")),
        }),
    });
    const other = await smtp.greeted();
    const client = connect({ port: smtp.port, host: "127.0.0.1" });
    const read = client[Symbol.asyncIterator]();
    const before = process.memoryUsage().arrayBuffers;
    const rcpt = both.map((name) => `RCPT TO:<${name}>\r\n`).join("");
    client.write(`EHLO x.example.org\r\nMAIL FROM:<a@example.org>\r\n${rcpt}DATA\r\n\r\n`);
    // The client's own copy is one buffer that is written again and again.
    const piece = Buffer.from(line.repeat(800));
    for (let sent = 0; sent < 50 * 1024 * 1024; sent += piece.length) client.write(piece);
    await until(() => taken > 1_000_000);
    // Other sessions go on meanwhile, and what the client could not send stays with it.
    const unsent = await steady(other, () => client.writableLength);
    expect(unsent).toBeGreaterThan(40 * 1024 * 1024);
    expect(taken).toBeLessThan(2_000_000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
    open();
    client.write(".\r\nQUIT\r\n");
    let replies = "";
    for (let next = await read.next(); next.done !== true; next = await read.next())
      replies += String(next.value);
    expect(replies).toContain("\r\n452 4.3.1 Not enough disk space\r\n221 ");
  });

  test("a store that fails in the middle is told of after the data, and the session goes on", async () => {
    smtp = await startTestSmtp({
      wrap: (store) =>
        over(store, {
          writeBlob: async (shard, id, chunks, signal) => {
            if (shard === 1) return store.writeBlob(shard, id, chunks, signal);
            for await (const chunk of chunks) {
              if (chunk.length > 0) throw new MailError({ code: "UNAVAILABLE", why: "a test" });
            }
            throw new Error("no chunk came");
          },
          spool: () => Promise.reject(new MailError({ code: "UNAVAILABLE", why: "a test" })),
        }),
    });
    const client = await smtp.greeted();
    expect(await deliver(client, `${large}.\r\n`, both)).toMatch(/^451 4\.3\.2 /);
    expect(await deliver(client, "Subject: x\r\n\r\n.\r\n")).toMatch(/^250 /);
  });

  test("LMTP tells the recipients apart", async () => {
    smtp = await startTestSmtp({
      kind: "lmtp",
      wrap: (store) =>
        over(store, {
          deliver: (request, signal) =>
            request.shard === 1
              ? Promise.reject(new MailError({ code: "REPLICA_UNREACHABLE" }))
              : store.deliver(request, signal),
          spool: () => Promise.reject(new MailError({ code: "UNAVAILABLE", why: "a test" })),
        }),
    });
    const client = await smtp.greeted();
    expect(await deliver(client, "Subject: x\r\n\r\n.\r\n", both)).toMatch(/^451 4\.3\.2 /);
    expect(await readReply(client)).toMatch(/^250 2\.0\.0 /);
  });

  test("a client that goes away in the middle leaves no open stream", async () => {
    let ended: unknown;
    let begun = false;
    smtp = await startTestSmtp({
      wrap: (store) =>
        over(store, {
          writeBlob: async (shard, id, chunks, signal) => {
            begun = true;
            return store.writeBlob(shard, id, chunks, signal).catch((error: unknown) => {
              ended = error;
              throw error;
            });
          },
        }),
    });
    const client = await smtp.greeted();
    await begin(client, ["u1@pabal.test"]);
    client.send(large);
    await until(() => begun);
    client.close();
    await until(() => ended !== undefined);
    expect(ended).toMatchObject({ code: "UNAVAILABLE" });
    expect(await smtp.inbox()).toEqual([]);
  });
});

describe("a client that goes away", () => {
  test("after the end of its message: the delivery under way is finished", async () => {
    const { opened, open } = gate();
    let delivering = false;
    smtp = await startTestSmtp({
      wrap: (store) =>
        over(store, {
          deliver: async (request, signal) => {
            delivering = true;
            await opened;
            return store.deliver(request, signal);
          },
        }),
    });
    for (const message of ["Subject: small\r\n\r\n", large]) {
      delivering = false;
      const client = await smtp.greeted();
      await begin(client, ["u1@pabal.test"]);
      client.send(`${message}.\r\n`);
      await until(() => delivering);
      client.close();
    }
    open();
    await until(async () => (await smtp.inbox()).length === 2);
    expect(await smtp.inbox()).toHaveLength(2);
  });

  test("before the end: nothing is stored", async () => {
    smtp = await startTestSmtp();
    const client = await smtp.greeted();
    await begin(client, ["u1@pabal.test"]);
    client.send("Subject: half\r\n\r\nhalf\r\n.");
    client.end();
    await client.readEnd();
    expect(await smtp.inbox()).toEqual([]);
  });
});

describe("a fault of ours", () => {
  test("in the store is a 451, in the directory ends this session only", async () => {
    smtp = await startTestSmtp({
      wrap: (store) =>
        over(store, { deliver: () => Promise.reject(new TypeError("a bug, in a test")) }),
      services: (services) => ({
        ...services,
        directory: {
          ...services.directory,
          lookupNow: (name) => {
            if (name.startsWith("bug@")) throw new TypeError("a bug, in a test");
            return services.directory.lookupNow(name);
          },
        },
      }),
    });
    const client = await smtp.greeted();
    const other = await smtp.greeted();
    expect(await deliver(client, "Subject: x\r\n\r\n.\r\n")).toMatch(/^451 4\.3\.0 /);
    await say(client, "MAIL FROM:<a@example.org>");
    expect(await say(client, "RCPT TO:<bug@pabal.test>")).toMatch(/^421 4\.3\.0 /);
    await client.readEnd();
    expect(await say(other, "NOOP")).toMatch(/^250 /);
  });

  test("while data come ends this session only", async () => {
    let armed = true;
    smtp = await startTestSmtp({
      services: (services) => ({
        ...services,
        nextDeliveryId: () => {
          if (!armed) return services.nextDeliveryId();
          armed = false;
          throw new TypeError("a bug, in a test");
        },
      }),
    });
    const client = await smtp.greeted();
    await say(client, "MAIL FROM:<a@example.org>");
    await say(client, "RCPT TO:<u1@pabal.test>");
    expect(await say(client, "DATA")).toMatch(/^421 4\.3\.0 /);
    await client.readEnd();
    expect(await deliver(await smtp.greeted(), "Subject: x\r\n\r\n.\r\n")).toMatch(/^250 /);
  });
});
