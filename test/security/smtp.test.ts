// The rows of security.md that concern SMTP, submission and LMTP, by number.
import { execFileSync } from "node:child_process";
import { connect, type Socket } from "node:net";
import { Writable } from "node:stream";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { SimulatedClock } from "../../src/lib/simulated-clock.ts";
import { LineClient } from "../support/line-client.ts";
import {
  deliver,
  readReply,
  say,
  startTestSmtp,
  steady,
  type TestSmtp,
  type TestSmtpOptions,
  withoutTrace,
} from "../unit/smtp/support.ts";

let smtp: TestSmtp;
const start = async (options: TestSmtpOptions = {}): Promise<LineClient> => {
  smtp = await startTestSmtp(options);
  return smtp.greeted();
};
afterEach(() => smtp.close());

const login = "AUTH PLAIN AHUxAHNlY3JldA==";

describe("1: smuggling in (CVE-2023-51764)", () => {
  const ends = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\n.\r",
    "\r\n.\0\r\n",
    "\r\n\0.\r\n",
  ];

  test.each(ends)("%j does not end the data, wherever packets are cut", async (end) => {
    const client = await start();
    const smuggled =
      "MAIL FROM:<admin@pabal.test>\r\nRCPT TO:<u2@pabal.test>\r\nDATA\r\nSubject: evil\r\n\r\n";
    const message = `Subject: x\r\n\r\nfirst${end}${smuggled}\r\n.\r\n`;
    for (let cut = 17; cut < 17 + 10; cut++) {
      await say(client, "MAIL FROM:<a@example.org>");
      await say(client, "RCPT TO:<u1@pabal.test>");
      await say(client, "DATA");
      client.send(message.slice(0, cut));
      // The answer of another session shows that the loop has turned.
      if (cut % 3 === 0) await say(await smtp.greeted(), "NOOP");
      client.send(message.slice(cut));
      expect(await readReply(client)).toMatch(/^250 /);
    }
    expect(await say(client, "NOOP")).toMatch(/^250 /);
    expect(await smtp.inbox("u2@pabal.test")).toEqual([]);
    for (const stored of await smtp.inbox()) expect(stored).not.toMatch(/\r(?!\n)|(?<!\r)\n/);
  });

  test("with `reject`, such a message is refused", async () => {
    const client = await start({ limits: { bareNewlines: "reject" } });
    for (const end of ends.slice(0, 7)) {
      expect(await deliver(client, `Subject: x\r\n\r\na${end}b\r\n.\r\n`)).toMatch(/^554 5\.6\.0 /);
    }
    expect(await smtp.inbox()).toEqual([]);
  });
});

describe("3: STARTTLS injection (CVE-2011-0411, CVE-2021-33515)", () => {
  test.each([
    "STARTTLS\r\nRSET\r\n",
    "STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<u1@pabal.test>\r\nDATA\r\n",
    "STARTTLS\r\nEHLO evil.example.org",
    "STARTTLS\r\nN",
    `STARTTLS\r\n${"NOOP\r\n".repeat(500)}`,
  ])("what comes with it is dropped: %j", async (text) => {
    const client = await start();
    await say(client, "MAIL FROM:<before@example.org>");
    client.send(text);
    expect(await readReply(client)).toMatch(/^220 /);
    await client.startTls();
    // Neither an answer to what was dropped, nor a command that begins with it, nor what was before.
    expect(await say(client, "RCPT TO:<u1@pabal.test>")).toBe("503 5.5.1 MAIL first");
    expect(await say(client, "MAIL FROM:<a@example.org>")).toBe("503 5.5.1 EHLO first");
    expect(client.unread()).toBe("");
  });
});

describe("4: downgrade", () => {
  test("without TLS, AUTH is neither offered nor taken, and submission wants it", async () => {
    const client = await start({ kind: "submission", plaintextLogin: false });
    client.send("EHLO client.example.org\r\n");
    for (let line = "250-"; line.startsWith("250-"); ) {
      line = await client.readLine();
      expect(line).not.toContain("AUTH");
    }
    expect(await say(client, login)).toMatch(/^538 5\.7\.11 /);
    expect(await say(client, "AUTH LOGIN")).toMatch(/^538 5\.7\.11 /);
    expect(await say(client, "MAIL FROM:<u1@pabal.test>")).toMatch(/^530 5\.7\.0 /);
    await say(client, "STARTTLS");
    await client.startTls();
    await say(client, "EHLO client.example.org");
    expect(await say(client, login)).toMatch(/^235 2\.7\.0 /);
  });
});

describe("5: header and command injection", () => {
  test.each(["\r", "\0", "\x1b", "\x7f", "\xc2\x85", "\xff"])(
    "%j is refused in an envelope",
    async (bad) => {
      const client = await start();
      const bytes = (text: string): Buffer => Buffer.from(`${text}\r\n`, "latin1");
      client.send(bytes(`MAIL FROM:<a${bad}Bcc: x@example.org> SMTPUTF8`));
      expect(await readReply(client)).toMatch(/^501 5\.5\.2 /);
      client.send(bytes(`MAIL FROM:<"a${bad}b"@example.org> SMTPUTF8`));
      expect(await readReply(client)).toMatch(/^501 5\.5\.2 /);
      client.send(bytes(`EHLO a${bad}b`));
      // A bare CR is a blank to the splitting of words, and two words are refused as well.
      expect(await readReply(client)).toMatch(/^501 5\.5\.4 /);
    },
  );

  test("a helo name can't break out of Received", async () => {
    const client = await start();
    await say(client, 'EHLO evil)(;<x>"\\,for');
    await deliver(client, "Subject: x\r\n\r\n.\r\n");
    expect((await smtp.inbox())[0]).toContain("from evilxfor ([127.0.0.1])\r\n");
  });

  test("a first line that looks like a continuation does not join our trace", async () => {
    const client = await start();
    await deliver(client, " injected\r\nSubject: x\r\n\r\n.\r\n");
    expect((await smtp.inbox())[0]).toContain("+0000\r\n\r\n injected\r\n");
  });
});

describe("8: slow writers and readers", () => {
  test("thousands of drip clients do not slow down another session, and end in time", async () => {
    const clock = new SimulatedClock();
    const client = await start({ clock, limits: { commandTimeoutMs: 100_000 } });
    const drips: LineClient[] = [];
    while (drips.length < dripsMax()) {
      // In batches, as a listener's queue of new connections is short.
      const batch = Array.from({ length: 250 }, () =>
        LineClient.connect({ port: smtp.port, timeoutMs: 30_000 }),
      );
      drips.push(...(await Promise.all(batch)));
    }
    await Promise.all(drips.map((drip) => readReply(drip)));
    for (const drip of drips) drip.send("EHL");
    const started = performance.now();
    expect(await deliver(client, "Subject: x\r\n\r\n.\r\n")).toMatch(/^250 /);
    expect(performance.now() - started).toBeLessThan(1000);
    clock.advance(50_000);
    for (const drip of drips) drip.send("O");
    await say(client, "NOOP");
    clock.advance(60_000);
    for (const drip of drips) expect(await readReply(drip)).toMatch(/^421 4\.4\.2 /);
    for (const drip of drips) drip.close();
    expect(await say(client, "NOOP")).toMatch(/^250 /);
  }, 60_000);

  test("a client that never reads its replies stops being read", async () => {
    await start();
    const socket: Socket = connect({ port: smtp.port, host: "127.0.0.1" });
    socket.pause();
    const flood = "HELP\r\n".repeat(10_000);
    // 20 MB of commands: a server that answered them all would hold 300 MB of replies.
    for (let i = 0; i < 350; i++) socket.write(flood);
    const unsent = await steady(await smtp.greeted(), () => socket.writableLength);
    expect(unsent).toBeGreaterThan(10_000_000);
    socket.destroy();
  });
});

describe("10: dot floods and 100k headers", () => {
  test("are delivered whole", async () => {
    const client = await start({ limits: { messageBytesMax: 30_000_000 } });
    const flood = `Subject: x\r\n\r\n${"..\r\n".repeat(1_000_000)}`;
    await say(client, "MAIL FROM:<a@example.org>");
    await say(client, "RCPT TO:<u1@pabal.test>");
    await say(client, "DATA");
    client.send(`${flood}.\r\n`);
    expect(await readReply(client)).toMatch(/^250 /);
    const fields = Array.from({ length: 100_000 }, (_, i) => `X-${i}: y\r\n`).join("");
    expect(await deliver(client, `${fields}\r\nbody\r\n.\r\n`)).toMatch(/^250 /);
    const [first = "", second = ""] = await smtp.inbox();
    expect(withoutTrace(first) === flood.replaceAll("\r\n..", "\r\n.")).toBe(true);
    expect(withoutTrace(second) === `${fields}\r\nbody\r\n`).toBe(true);
  });
});

describe("14, 15: guessing and enumeration", () => {
  test("unknown users and wrong passwords get the same words, and end the session", async () => {
    const client = await start({ kind: "submission", limits: { badCommandsMax: 4 } });
    const guess = (user: string): Promise<string> =>
      say(client, `AUTH PLAIN ${Buffer.from(`\0${user}\0guess`).toString("base64")}`);
    const known = await guess("u1@pabal.test");
    expect(known).toBe("535 5.7.8 Wrong user name or password");
    expect(await guess("nobody@pabal.test")).toBe(known);
    expect(await guess("x@elsewhere.org")).toBe(known);
    expect(await guess("u1")).toMatch(/^421 4\.7\.0 /);
    await client.readEnd();
  });

  test("VRFY and EXPN tell nothing", async () => {
    const client = await start();
    expect(await say(client, "VRFY u1")).toBe(await say(client, "VRFY nobody"));
    expect(await say(client, "EXPN u1")).toMatch(/^502 /);
  });
});

describe("16: hash flooding", () => {
  test("a full queue of checks is a temporary failure", async () => {
    const client = await start({ kind: "submission" });
    smtp.services.outage = true;
    expect(await say(client, login)).toMatch(/^454 4\.7\.0 /);
  });
});

describe("17: secrets in logs", () => {
  test("at trace level no password and no message text is there", async () => {
    let logged = "";
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged += chunk.toString();
        done();
      },
    });
    const canary = "canary-7f3a";
    const encoded = Buffer.from(canary).toString("base64");
    const client = await start({
      kind: "submission",
      services: (services) => ({ ...services, log: pino({ level: "trace" }, sink) }),
    });
    const plain = Buffer.from(`\0u1\0${canary}`).toString("base64");
    await say(client, `AUTH PLAIN ${plain}`);
    await say(client, "AUTH PLAIN");
    await say(client, plain);
    await say(client, "AUTH LOGIN dTE=");
    await say(client, encoded);
    await say(client, `auth  plain ${plain}`);
    await say(client, login);
    await say(client, "MAIL FROM:<u1@pabal.test>");
    await say(client, "RCPT TO:<u2@pabal.test>");
    await say(client, "DATA");
    client.send(`Subject: ${canary}\r\n\r\n${canary}\r\n.\r\n`);
    expect(await readReply(client)).toMatch(/^250 /);
    expect(logged).toContain("message received");
    expect(logged).toContain("RCPT TO");
    for (const secret of [canary, encoded, plain, "AHUxAHNlY3JldA"])
      expect(logged).not.toContain(secret);
  });
});

describe("18: open relay", () => {
  test.each([
    "x@elsewhere.org",
    "u1%elsewhere.org@pabal.test",
    "elsewhere.org!u1@pabal.test",
    "@pabal.test:x@elsewhere.org",
    "@elsewhere.org:u1@pabal.test",
    '"x@elsewhere.org"@pabal.test',
    "x@elsewhere.org@pabal.test",
    '"x%elsewhere.org"@pabal.test',
    "u1@pabal.test.",
    "u1@pabal.test@elsewhere.org",
    "u1@[127.0.0.1]",
  ])("%s is refused", async (path) => {
    const client = await start();
    await say(client, "MAIL FROM:<u1@pabal.test>");
    expect(await say(client, `RCPT TO:<${path}>`)).toMatch(/^5(?:01|53|54) /);
  });
});

describe("19, 20: backscatter and loops", () => {
  test("everything is refused in the dialogue, a loop too", async () => {
    const client = await start();
    await say(client, "MAIL FROM:<>");
    expect(await say(client, "RCPT TO:<nobody@pabal.test>")).toMatch(/^550 /);
    await say(client, "RSET");
    const loop = "Received: by x; date\r\n".repeat(51);
    expect(await deliver(client, `${loop}\r\n.\r\n`)).toMatch(/^554 5\.4\.6 /);
    expect(await smtp.inbox()).toEqual([]);
  });
});

describe("21: sender spoofing on submission", () => {
  test("neither the envelope nor the header may name somebody else", async () => {
    const client = await start({ kind: "submission" });
    await say(client, login);
    expect(await say(client, "MAIL FROM:<u2@pabal.test>")).toMatch(/^553 5\.7\.1 /);
    for (const from of ["u2@pabal.test", "Me <u1@pabal.test>, u2@pabal.test"]) {
      await say(client, "MAIL FROM:<u1@pabal.test>");
      await say(client, "RCPT TO:<u2@pabal.test>");
      await say(client, "DATA");
      client.send(`From: ${from}\r\n\r\n.\r\n`);
      expect(await readReply(client)).toMatch(/^553 5\.7\.1 /);
    }
    expect(await smtp.inbox("u2@pabal.test")).toEqual([]);
  });

  test("a login is over when its account was disabled or got another password", async () => {
    const client = await start({ kind: "submission" });
    await say(client, login);
    const [account] = [...smtp.services.store.accounts.values()];
    if (account === undefined) throw new Error("no account");
    smtp.services.store.updateAccount(account.row.account, { state: "disabled" });
    expect(await say(client, "MAIL FROM:<u1@pabal.test>")).toMatch(/^530 5\.7\.0 /);
  });

  test("XCLIENT is for listed networks only", async () => {
    const client = await start({ kind: "submission", trustedProxies: ["192.0.2.0/24"] });
    expect(await say(client, "XCLIENT ADDR=192.0.2.1 LOGIN=u1@pabal.test")).toMatch(/^5/);
    expect(await say(client, "XCLIENT ADDR=192.0.2.1")).toMatch(/^550 5\.7\.0 /);
  });
});

describe("26: a handler that throws", () => {
  test("ends one session, not the process", async () => {
    const client = await start({
      services: (services) => ({
        ...services,
        directory: {
          ...services.directory,
          lookupNow: () => {
            throw new TypeError("a bug, in a test");
          },
        },
      }),
    });
    const other = await smtp.greeted();
    await say(client, "MAIL FROM:<a@example.org>");
    expect(await say(client, "RCPT TO:<u1@pabal.test>")).toMatch(/^421 4\.3\.0 /);
    expect(await say(other, "NOOP")).toMatch(/^250 /);
  });
});

/** 5,000, or what the machine allows: both ends of each connection are files of this process. */
function dripsMax(): number {
  const files = Number(execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" }));
  return Math.min(5000, Math.floor(((files || 100_000) - 500) / 2 / 250) * 250);
}
