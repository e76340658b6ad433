// The rows of the security plan that concern IMAP: injection at STARTTLS, limits before and after
// login, bombs, slow readers and writers, secrets in logs, one session's failure.

import { Writable } from "node:stream";
import { constants, deflateRawSync } from "node:zlib";
import { pino } from "pino";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ImapOptions } from "../../src/gateway/imap/listener.ts";
import type { Listener } from "../../src/gateway/services.ts";
import { runDialogue } from "../support/dialogue.ts";
import { fakeServices } from "../support/fake-services.ts";
import type { FakeServices, FakeServicesOptions } from "../support/fake-services.ts";
import { LineClient } from "../support/line-client.ts";
import { testSecureContext } from "../support/test-certificate.ts";
import { addMessage } from "../unit/imap/support.ts";
import { loggedIn, startTestImap, type TestImap } from "../unit/imap/test-imap.ts";

type SecureContext = NonNullable<FakeServicesOptions["secureContext"]>;
let secureContext: SecureContext;
const listeners: Listener[] = [];

beforeAll(async () => {
  secureContext = await testSecureContext();
});
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((each) => each.close(AbortSignal.abort())));
});

async function start(
  options: Partial<ImapOptions> = {},
  services: FakeServices = fakeServices(),
): Promise<TestImap> {
  const started = await startTestImap(options, services);
  listeners.push(started.listener);
  return started;
}

describe("STARTTLS injection (CVE-2011-0411, CVE-2021-33515)", () => {
  test.each([
    ["a whole command", "b LOGIN u1 secret\r\n"],
    ["half a command", "b NO"],
    ["half a literal", "b LOGIN {5}\r\nu"],
  ])("%s in the same packet is never run", async (_, injected) => {
    const services = fakeServices({ secureContext });
    const { port } = await start({}, services);
    const client = await LineClient.connect({ port });
    await client.readLine();
    client.send(`a STARTTLS\r\n${injected}`);
    expect(await client.readLine()).toBe("a OK Begin TLS negotiation now");
    await client.startTls();
    client.send("c NOOP\r\n");
    expect(await client.readLine()).toBe("c OK NOOP completed");
    client.send("d SELECT INBOX\r\n");
    expect(await client.readLine()).toBe("d BAD SELECT is not possible in this state");
    client.close();
  });
});

describe("before login (CVE-2025-61600)", () => {
  test.each([
    ["a long line", "a LOGIN ${repeat:8200:x}", "a BAD [TOOBIG] The command is too long"],
    ["a long line without an end", "a ${repeat:9000:x}", "a BAD [TOOBIG] The command is too long"],
    ["a large literal", "a LOGIN {1025}", "a BAD [TOOBIG] Before login <any>"],
    ["a large literal unasked", "a LOGIN {2000+}", "a BAD [TOOBIG] Before login <any>"],
    ["a giant literal", "a LOGIN {99999999999999999999}", "a BAD [TOOBIG] Before login <any>"],
  ])("%s ends the connection", async (_, line, answer) => {
    const { port } = await start();
    await runDialogue("limits", `S: * OK <any>\nC: ${line}\nS: ${answer}\nS: * BYE <any>\nEOF`, {
      port,
    });
  });

  test("five literals are one too many", async () => {
    const { port } = await start();
    const four = "{1+}\\r\\nx ".repeat(4);
    const text = `S: * OK <any>\nC> a X ${four}{1+}\\r\\nx\\r\\n\nS: a BAD [TOOBIG] <any>\nS: * BYE <any>\nEOF`;
    await runDialogue("literals", text, { port });
  });

  test("login has a deadline that drips don't move", async () => {
    const { port } = await start({ limits: { loginMs: 500 } });
    const client = await LineClient.connect({ port });
    await client.readLine();
    const drip = setInterval(() => client.send("a"), 50);
    const line = await client.readLine().finally(() => clearInterval(drip));
    expect(line).toBe("* BYE Login took too long");
    client.close();
  });

  test("a browser's request is turned away", async () => {
    const { port } = await start({ limits: { badCommandsMax: 3 } });
    const text =
      "S: * OK <any>\nC: GET / HTTP/1.1\nC: Host: x\nC: Accept: y\nS: GET BAD Unknown command\n" +
      "S: Host: BAD Unknown command\nS: Accept: BAD Unknown command\n" +
      "S: * BYE Too many bad commands\nEOF";
    await runDialogue("http", text, { port });
  });

  test("guesses are counted", async () => {
    const { port } = await start({ limits: { loginFailuresMax: 2 } });
    const refused = "NO [AUTHENTICATIONFAILED] User name or password is wrong";
    const text = `S: * OK <any>\nC: a LOGIN u1 x\nS: a ${refused}\nC: b LOGIN u1 y\nS: b ${refused}\nS: * BYE Too many failed logins\nEOF`;
    await runDialogue("guesses", text, { port });
  });

  test("an outage is not called a wrong password", async () => {
    const { port, services } = await start();
    services.outage = true;
    const text =
      "S: * OK <any>\nC: a LOGIN u1 secret\nS: a NO [UNAVAILABLE] The password can't be checked now, try again";
    await runDialogue("outage", text, { port });
  });
});

describe("after login", () => {
  test.each([
    ["a literal without waiting", "a SEARCH SUBJECT {4097+}", "a BAD [TOOBIG] <any>", true],
    ["a command over 64 KiB", "a SEARCH SUBJECT ${repeat:66000:x}", "a BAD [TOOBIG] <any>", true],
    ["a large literal with waiting", "a SEARCH SUBJECT {66000}", "a NO [TOOBIG] <any>", false],
    ["parentheses (CVE-2026-27857)", "a SEARCH ${repeat:30000:(}", "a BAD SEARCH: <any>", false],
    ["NOTs", "a SEARCH ${repeat:10000:NOT }ALL", "a BAD SEARCH: <any>", false],
    ["ORs", "a SEARCH ${repeat:10000:OR }ALL", "a BAD SEARCH: <any>", false],
    [
      "NUL in a quoted string (CVE-2019-11500)",
      'a SEARCH SUBJECT "\\0"',
      "a BAD SEARCH: <any>",
      false,
    ],
    ["wildcards", 'a LIST "" "${repeat:1000:*%}"', "a BAD LIST: <any>", false],
    ["prototype names", "a __proto__", "a BAD Unknown command", false],
    ["constructor", "a CONSTRUCTOR", "a BAD Unknown command", false],
    ["a bare CR", "a NOOP\\rb NOOP", "a BAD NOOP: unexpected characters at the end", false],
  ])("%s is refused at once", async (_, line, answer, ends) => {
    const { port } = await start();
    const text = `S: * OK <any>\nC: x LOGIN u1 secret\nS: x OK <any>\nC: y SELECT INBOX\nS.. y OK <any>\nC> ${line}\\r\\n\nS: ${answer}\n${ends ? "S: * BYE <any>\nEOF" : "C: z NOOP\nS: z OK <any>"}`;
    const started = performance.now();
    await runDialogue("bombs", text, { port });
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test("a sequence set of ten thousand ranges is merged, not repeated", async () => {
    const { port } = await start();
    const client = await loggedIn(port, "INBOX");
    client.send(`a FETCH ${"1:3,".repeat(10_000)}1 UID\r\n`);
    expect([await client.readLine(), await client.readLine(), await client.readLine()]).toEqual([
      "* 1 FETCH (UID 1)",
      "* 2 FETCH (UID 2)",
      "* 3 FETCH (UID 3)",
    ]);
    expect(await client.readLine()).toBe("a OK FETCH completed");
    client.close();
  });

  test.each(["../x", "a//b", "a/../b", "x\\0y", "&2AA-", "&AAA-", "a/./b", "&AGE-"])(
    "mailbox name %j is refused (row 12)",
    async (name) => {
      const { port } = await start();
      const text = `S: * OK <any>\nC: x LOGIN u1 secret\nS: x OK <any>\nC> a CREATE "${name}"\\r\\n\nS: a </NO \\[CANNOT\\]|BAD CREATE/>: <any>`;
      await runDialogue("names", text.replace("/>: <any>", "/><any>"), { port });
    },
  );

  test("a header field name can't write into the answer (row 5)", async () => {
    const { port } = await start();
    const client = await loggedIn(port, "INBOX");
    client.send("a FETCH 1 BODY.PEEK[HEADER.FIELDS ({18+}\r\nx)] {2}\r\n* BYE {2)]\r\n");
    expect(await client.readLine()).toMatch(/^a BAD FETCH/);
    client.close();
  });
});

describe("slow readers and writers (row 8)", () => {
  test("a client that doesn't read stops its own FETCH and nobody else's", async () => {
    const { port, services } = await start({ limits: { outputBytesMax: 64 * 1024 } });
    const { who } = services.store.addAccount("big@pabal.test");
    const body = `Subject: big\r\n\r\n${"x".repeat(76)}\r\n`.padEnd(1_000_000, "y");
    for (let i = 0; i < 40; i++) await addMessage(services, who, "INBOX", body);
    const slow = await LineClient.connect({ port });
    slow.send("x LOGIN big secret\r\ny SELECT INBOX\r\n");
    await slow.skipTo("y ");
    slow.pause();
    const before = process.memoryUsage().arrayBuffers;
    slow.send("a FETCH 1:* BODY.PEEK[]\r\n");
    const other = await loggedIn(port, "INBOX");
    for (let i = 0; i < 50; i++) {
      other.send(`n${i} NOOP\r\n`);
      expect(await other.readLine()).toBe(`n${i} OK NOOP completed`);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30_000_000);
    slow.resume();
    let total = 0;
    for (let i = 0; i < 40; i++) {
      const head = await slow.readLine();
      const size = Number(/\{(\d+)\}$/.exec(head)?.[1]);
      total += (await slow.readBytes(size)).length;
      expect(await slow.readLine()).toBe(")");
    }
    expect(total).toBe(40_000_000);
    expect(await slow.readLine()).toBe("a OK FETCH completed");
    slow.close();
    other.close();
  });

  test("output that nobody takes ends the connection", async () => {
    const { port, services } = await start({
      limits: { outputBytesMax: 64 * 1024, outputStuckMs: 500 },
    });
    const { who } = services.store.addAccount("big@pabal.test");
    for (let i = 0; i < 20; i++) {
      await addMessage(services, who, "INBOX", "a: b\r\n\r\n".padEnd(1_000_000, "y"));
    }
    const client = await LineClient.connect({ port });
    client.send("x LOGIN big secret\r\ny SELECT INBOX\r\nz NOOP\r\n");
    await client.skipTo("z ");
    const watchers = (): number => services.store.accounts.get(who.account)?.watchers.size ?? 0;
    expect(watchers()).toBe(1);
    client.pause();
    client.send("a FETCH 1:* BODY.PEEK[]\r\n");
    // The session's watch ends with it.
    await expect.poll(watchers, { timeout: 10_000, interval: 100 }).toBe(0);
    client.close();
  });

  test("silence between commands has its deadline, and half commands theirs", async () => {
    const { port } = await start({ limits: { autologoutMs: 300, commandReadMs: 300 } });
    const idle = await loggedIn(port, "INBOX");
    expect(await idle.readLine()).toBe("* BYE Idle for too long");
    idle.close();
    const half = await loggedIn(port, "INBOX");
    half.send("a SEA");
    expect(await half.readLine()).toBe("* BYE Idle for too long");
    half.close();
  });
});

describe("COMPRESS (row 9)", () => {
  test("not before login, and a bomb ends the session that sent it after little work", async () => {
    const { port } = await start();
    const stranger = await LineClient.connect({ port });
    stranger.send("a COMPRESS DEFLATE\r\n");
    expect(await stranger.skipTo("a ")).toBe("a BAD COMPRESS is not possible in this state");
    stranger.close();
    const client = await loggedIn(port, "INBOX");
    client.send("c COMPRESS DEFLATE\r\n");
    await client.skipTo("c OK");
    const text = Buffer.alloc(64 * 1024 * 1024, `t NOOP${" ".repeat(1000)}\r\n`);
    client.send(deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }));
    client.startInflate();
    let answers = 0;
    for (let line = ""; !line.startsWith("* BYE"); answers++) line = await client.readLine();
    expect(answers).toBeLessThan(500);
    await client.readEnd();
  });
});

describe("URLs of CATENATE (row 13)", () => {
  test("another user's mail can't be had, whatever the URL says", async () => {
    const services = fakeServices();
    const { port } = await start({}, services);
    const { who } = services.store.addAccount("u2@pabal.test");
    await addMessage(services, who, "Archive", "secret: 1\r\n\r\nsecret\r\n");
    const client = await loggedIn(port, "INBOX");
    const urls = [
      "imap://u2@mail.pabal.test/Archive/;UID=1",
      "//u2@mail.pabal.test/Archive/;UID=1",
      "/~u2/Archive/;UID=1",
      "/../u2/Archive/;UID=1",
      "/%2e%2e%2fArchive/;UID=1",
      "/Archive/;UID=1",
    ];
    for (const url of urls) {
      client.send(`a APPEND INBOX CATENATE (URL "${url}")\r\n`);
      expect(await client.skipTo("a ")).toMatch(/^a NO \[BADURL "/);
    }
    client.close();
  });
});

describe("one session's trouble is its own (row 26)", () => {
  test("a handler that throws ends one session", async () => {
    const services = fakeServices();
    const { port } = await start({}, services);
    const other = await loggedIn(port, "INBOX");
    const client = await loggedIn(port, "INBOX");
    services.store.quota = () => Promise.reject(new TypeError("a bug"));
    client.send('a GETQUOTA ""\r\n');
    expect(await client.readLine()).toBe("a NO [SERVERBUG] Internal error");
    expect(await client.readLine()).toBe("* BYE Internal error");
    await client.readEnd();
    other.send("n NOOP\r\n");
    expect(await other.readLine()).toBe("n OK NOOP completed");
    other.close();
  });

  test("connections are counted per user and per address", async () => {
    const { port } = await start({
      limits: { connectionsPerUserMax: 2, connectionsPerAddressMax: 4 },
      limitExempt: () => false,
    });
    const first = await loggedIn(port, "INBOX");
    const second = await loggedIn(port, "INBOX");
    const third = await LineClient.connect({ port });
    await third.readLine();
    third.send("a LOGIN u1 secret\r\n");
    expect(await third.readLine()).toBe(
      "a NO [LIMIT] Too many connections of this user, at most 2",
    );
    const fourth = await LineClient.connect({ port });
    await fourth.readLine();
    const fifth = await LineClient.connect({ port });
    expect(await fifth.readLine()).toBe("* BYE [LIMIT] Too many connections");
    await fifth.readEnd();
    second.send("a LOGOUT\r\n");
    await second.skipTo("a OK");
    await second.readEnd();
    third.send("b LOGIN u1 secret\r\n");
    expect(await third.readLine()).toMatch(/^b OK/);
    for (const client of [first, third, fourth]) client.close();
  });

  test("a changed password ends open sessions", async () => {
    const { port, services } = await start();
    const client = await loggedIn(port, "INBOX");
    client.send("a IDLE\r\n");
    await client.readLine();
    const [account] = services.store.accounts.keys();
    if (account !== undefined) services.store.updateAccount(account, { password: "new" });
    expect(await client.skipTo("* BYE")).toBe("* BYE Log in again");
    await client.readEnd();
  });
});

test("passwords are not in the log at trace level (row 17)", async () => {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString("utf8"));
      done();
    },
  });
  const log = pino({ level: "trace" }, sink);
  const { port } = await start({}, fakeServices({ log }));
  const canary = "canary-5e1f";
  const text = `S: * OK <any>
C: a LOGIN u1 ${canary}
S: a NO <any>
C: b LOGIN u1 {11+}
C: ${canary}
S: b NO <any>
C: c AUTHENTICATE PLAIN \${base64:\\0u1\\0${canary}}
S: c NO <any>
C: d LOGIN ${canary} {4
S: d BAD <any>
C: e LOGIN u1 secret
S: e OK <any>
C: f LOGOUT
S: * BYE <any>
S: f OK <any>
EOF`;
  await runDialogue("canary", text, { port });
  expect(lines.some((line) => line.includes("login refused"))).toBe(true);
  expect(lines.join("")).not.toContain(canary);
  expect(lines.join("")).not.toContain("secret");
});
