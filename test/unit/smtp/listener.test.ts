// SMTP, submission and LMTP listeners over the fake store: dialogues, and what ends up stored.
import { afterEach, describe, expect, test } from "vitest";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { dialogueNames, runDialogueFile } from "../../support/dialogue.ts";
import {
  deliver,
  readReply,
  say,
  startTestSmtp,
  type TestSmtp,
  type TestSmtpOptions,
  withoutTrace,
} from "./support.ts";

let smtp: TestSmtp;
async function start(options: TestSmtpOptions = {}): Promise<void> {
  smtp = await startTestSmtp(options);
}
afterEach(() => smtp.close());

describe.each([
  ["smtp", "relay", {}],
  ["smtp-submission", "submission", { badCommandsMax: 20 }],
  ["smtp-lmtp", "lmtp", {}],
] as const)("dialogues of %s", (folder, kind, limits) => {
  test.each(dialogueNames(folder))("%s", async (name) => {
    await start({ kind, limits: name === "too-many-wrong.txt" ? { badCommandsMax: 3 } : limits });
    await expect(runDialogueFile(folder, name, { port: smtp.port })).resolves.toBeDefined();
  });
});

describe("an SMTP listener", () => {
  test("stores the bytes that were sent, below its trace headers", async () => {
    await start();
    const client = await smtp.greeted();
    const message = "Subject: x\r\n\r\n..a\r\n\x00\x80\xff\r\n";
    await deliver(client, Buffer.from(`Subject: x\r\n\r\n...a\r\n\x00\x80\xff\r\n.\r\n`, "latin1"));
    const [stored = ""] = await smtp.inbox();
    expect(withoutTrace(stored)).toBe(message);
    expect(stored).toMatch(
      /^Return-Path: <a@example\.org>\r\nReceived: from client\.example\.org \(\[127\.0\.0\.1\]\)\r\n\tby mail\.pabal\.test with ESMTP id [0-9A-Z]{26}\r\n\tfor <u1@pabal\.test>;\r\n\t\w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\r\n/,
    );
  });

  test("gives one copy to an account named by several addresses, and does not name them", async () => {
    await start();
    const client = await smtp.greeted();
    await deliver(client, "Subject: x\r\n\r\n.\r\n", [
      "u1@pabal.test",
      "alias@pabal.test",
      "u2@pabal.test",
    ]);
    const [stored, ...others] = await smtp.inbox();
    expect(others).toEqual([]);
    expect(stored).not.toContain("for <");
    expect(await smtp.inbox("u2@pabal.test")).toHaveLength(1);
  });

  test("refuses a message over the size limit at its end, and takes the next", async () => {
    await start({ limits: { messageBytesMax: 100 } });
    const client = await smtp.greeted();
    expect(await deliver(client, `${"x".repeat(101)}\r\n.\r\n`)).toMatch(/^552 5\.3\.4 /);
    expect(await deliver(client, "Subject: x\r\n\r\n.\r\n")).toMatch(/^250 /);
    expect(await smtp.inbox()).toHaveLength(1);
  });

  test("refuses a looping message and a line without end", async () => {
    await start({ limits: { hopsMax: 3, textLineBytesMax: 1000 } });
    const client = await smtp.greeted();
    const hops = (count: number): string => "Received: by x;\r\n\tdate\r\n".repeat(count);
    expect(await deliver(client, `${hops(4)}\r\n.\r\n`)).toMatch(/^554 5\.4\.6 /);
    expect(await deliver(client, `\r\n${"x".repeat(1001)}\r\n.\r\n`)).toMatch(/^554 5\.6\.0 Line/);
    expect(await deliver(client, `${hops(3)}\r\n.\r\n`)).toMatch(/^250 /);
  });

  test("with `reject`, refuses bare CR and LF; otherwise makes CRLFs of them", async () => {
    await start({ limits: { bareNewlines: "reject" } });
    const strict = await smtp.greeted();
    expect(await deliver(strict, "Subject: x\r\n\r\na\nb\r\n.\r\n")).toMatch(/^554 5\.6\.0 Bare/);
    await smtp.close();
    await start();
    const client = await smtp.greeted();
    expect(await deliver(client, "Subject: x\r\n\r\na\nb\rc\r\n.\r\n")).toMatch(/^250 /);
    expect(withoutTrace((await smtp.inbox())[0] ?? "")).toBe("Subject: x\r\n\r\na\r\nb\r\nc\r\n");
  });

  test("answers 451 while the directory is not sure, 454 to logins", async () => {
    await start({ kind: "submission" });
    const client = await smtp.greeted();
    expect(await say(client, "AUTH PLAIN AHUxAHNlY3JldA==")).toMatch(/^235 2\.7\.0 /);
    smtp.services.outage = true;
    await say(client, "MAIL FROM:<u1@pabal.test>");
    expect(await say(client, "RCPT TO:<u2@pabal.test>")).toMatch(/^451 4\.3\.2 /);
    const other = await smtp.greeted();
    expect(await say(other, "AUTH PLAIN AHUxAHNlY3JldA==")).toMatch(/^454 4\.7\.0 /);
  });

  test("ends a session after too many unknown recipients", async () => {
    await start({ limits: { unknownRecipientsMax: 3 } });
    const client = await smtp.greeted();
    for (let i = 0; i < 3; i++) {
      await say(client, "MAIL FROM:<a@example.org>");
      expect(await say(client, `RCPT TO:<guess${i}@pabal.test>`)).toMatch(/^550 5\.1\.1 /);
      await say(client, "RSET");
    }
    await say(client, "MAIL FROM:<a@example.org>");
    expect(await say(client, "RCPT TO:<u1@pabal.test>")).toMatch(/^421 4\.7\.0 /);
    await client.readEnd();
  });
});

describe("deadlines", () => {
  const clock = (): SimulatedClock => new SimulatedClock();

  test("a session without a command ends, one that drips bytes of a command too", async () => {
    const time = clock();
    await start({ clock: time, limits: { commandTimeoutMs: 5000 } });
    const silent = await smtp.greeted();
    const dripping = await smtp.greeted();
    for (let i = 0; i < 4; i++) {
      dripping.send("N");
      time.advance(1000);
    }
    expect(await say(silent, "NOOP")).toMatch(/^250 /);
    time.advance(2000);
    expect(await readReply(dripping)).toMatch(/^421 4\.4\.2 .*limits\.commandTimeout/);
    time.advance(4000);
    expect(await readReply(silent)).toMatch(/^421 4\.4\.2 /);
  });

  test("submission wants a login within its time, relay does not", async () => {
    const time = clock();
    await start({ clock: time, kind: "submission", limits: { authenticationMs: 10_000 } });
    const late = await smtp.greeted();
    const member = await smtp.greeted();
    await say(member, "AUTH PLAIN AHUxAHNlY3JldA==");
    time.advance(11_000);
    expect(await readReply(late)).toMatch(/^421 4\.4\.2 .*limits\.authTimeout/);
    expect(await say(member, "NOOP")).toMatch(/^250 /);
  });

  test("a message must come at its least speed, whenever it began", async () => {
    const time = clock();
    await start({ clock: time, limits: { dataBytesPerMinuteMin: 100 } });
    const client = await smtp.greeted();
    time.advance(59_000);
    for (const line of ["MAIL FROM:<a@example.org>", "RCPT TO:<u1@pabal.test>", "DATA"])
      await say(client, line);
    time.advance(59_000);
    client.send(`Subject: ${"x".repeat(100)}\r\n`);
    // A second client's answer shows that the bytes before were read.
    await say(await smtp.greeted(), "NOOP");
    time.advance(1000);
    expect(client.unread()).toBe("");
    time.advance(60_000);
    expect(await readReply(client)).toMatch(/^421 4\.4\.2 Message comes slower than 100 bytes/);
  });

  test("a STARTTLS handshake that does not come ends the connection", async () => {
    const time = clock();
    await start({ clock: time, limits: { tlsHandshakeMs: 10_000 } });
    const client = await smtp.greeted();
    expect(await say(client, "STARTTLS")).toMatch(/^220 /);
    time.advance(9000);
    time.advance(3000);
    await client.readEnd();
  });

  test("who speaks before a delayed greeting is sent away", async () => {
    const time = clock();
    await start({ clock: time, limits: { greetingDelayMs: 1000 } });
    const { LineClient } = await import("../../support/line-client.ts");
    const early = await LineClient.connect({ port: smtp.port });
    early.send("EHLO early.example.org\r\n");
    expect(await early.readLine()).toMatch(/^421 5\.5\.1 You talk too soon/);
    await early.readEnd();
  });
});

describe("a drain", () => {
  test("ends idle sessions with 421, busy ones after their message", async () => {
    await start();
    const idle = await smtp.greeted();
    const busy = await smtp.greeted();
    for (const line of ["MAIL FROM:<a@example.org>", "RCPT TO:<u1@pabal.test>", "DATA"])
      await say(busy, line);
    const stop = new AbortController();
    const closed = smtp.listener.close(stop.signal);
    expect(await readReply(idle)).toBe("421 4.3.2 Server shutting down");
    idle.close();
    busy.send("Subject: last\r\n\r\n.\r\n");
    expect(await readReply(busy)).toMatch(/^250 /);
    expect(await readReply(busy)).toBe("421 4.3.2 Server shutting down");
    busy.close();
    await closed;
    expect(await smtp.inbox()).toHaveLength(1);
  });

  test("when its time is over, cuts off who does not end", async () => {
    await start();
    const client = await smtp.greeted();
    await say(client, "MAIL FROM:<a@example.org>");
    await smtp.listener.close(AbortSignal.abort());
    expect(await readReply(client)).toMatch(/^421 4\.3\.2 /);
    await client.readEnd();
  });
});
