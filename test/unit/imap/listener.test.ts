// The socket side: drain, hang-ups in the middle of things, large messages, keep-alive in IDLE.

import { afterEach, describe, expect, test, vi } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import type { ImapLimits } from "../../../src/gateway/imap/limits.ts";
import { Output } from "../../../src/gateway/imap/output.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import { MailError } from "../../../src/mail/errors.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { FakeMailStore } from "../../support/fake-mail-store.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { addMessage } from "./support.ts";
import { loggedIn, startTestImap } from "./test-imap.ts";

let services: FakeServices;
let who: Principal;
let listener: Listener | undefined;

afterEach(async () => {
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

async function start(limits: Partial<ImapLimits> = {}): Promise<number> {
  const started = await startTestImap({ limits });
  ({ services, who, listener } = started);
  return started.port;
}

const bye = "* BYE The server is shutting down, connect again";

describe("drain", () => {
  test("quiet and idling sessions get BYE at once, busy ones finish first", async () => {
    const port = await start();
    const quiet = await loggedIn(port, "INBOX");
    const idling = await loggedIn(port, "INBOX");
    idling.send("a IDLE\r\n");
    await idling.skipTo("+ ");
    const busy = await loggedIn(port, "INBOX");
    busy.send("a APPEND INBOX {10}\r\n");
    await busy.skipTo("+ ");
    const closed = listener?.close(new AbortController().signal);
    expect(await quiet.readLine()).toBe(bye);
    await quiet.readEnd();
    expect(await idling.skipTo("* BYE")).toBe(bye);
    busy.send("Subject: x\r\n");
    busy.send("b NOOP\r\n");
    expect(await busy.skipTo("a ")).toMatch(/^a OK/);
    expect(await busy.readLine()).toBe(bye);
    await closed;
  });

  test("who doesn't finish is ended when the time is up", async () => {
    const port = await start();
    const busy = await loggedIn(port, "INBOX");
    busy.send("a APPEND INBOX {10}\r\n");
    await busy.skipTo("+ ");
    const time = new AbortController();
    const closed = listener?.close(time.signal);
    time.abort();
    expect(await busy.skipTo("* BYE")).toBe(bye);
    await closed;
  });

  test("nothing is accepted any more", async () => {
    const port = await start();
    await listener?.close(AbortSignal.abort());
    await expect(LineClient.connect({ port })).rejects.toThrow();
  });
});

describe("connections", () => {
  test("a port in use is an error at once", async () => {
    const port = await start();
    const again = startImap({ services, address: "127.0.0.1", port, implicitTls: false });
    await expect(again).rejects.toThrow(/EADDRINUSE/);
  });

  test("a client that hangs up leaves nothing behind", async () => {
    const port = await start();
    const watchers = (): number => services.store.accounts.get(who.account)?.watchers.size ?? 0;
    const client = await loggedIn(port, "INBOX");
    client.send("a IDLE\r\n");
    await expect.poll(watchers).toBe(1);
    client.close();
    await expect.poll(watchers).toBe(0);
  });

  test("a half-closed client still gets its answers", async () => {
    const port = await start();
    const client = await LineClient.connect({ port });
    client.send("x LOGIN u1 secret\r\ny STATUS INBOX (MESSAGES)\r\nz NOOP");
    client.end();
    await client.readLine();
    expect(await client.readLine()).toMatch(/^x OK/);
    expect(await client.readLine()).toBe('* STATUS "INBOX" (MESSAGES 3)');
    expect(await client.readLine()).toBe("y OK STATUS completed");
    await client.readEnd();
  });

  test("an upload cut off stores nothing", async () => {
    const port = await start();
    const client = await loggedIn(port, "INBOX");
    client.send("a APPEND INBOX {1000}\r\n");
    await client.skipTo("+ ");
    client.send("Subject: half");
    client.end();
    await client.readEnd();
    const status = await services.store.mailboxStatus(who, "INBOX", AbortSignal.timeout(1000));
    expect(status.messages).toBe(3);
  });

  test("large messages are streamed to the store and come back byte for byte", async () => {
    const port = await start();
    const client = await loggedIn(port, "INBOX");
    const size = 3_000_000;
    const body = Buffer.alloc(size, "0123456789abcdef\r\n");
    body.write("Subject: large\r\n\r\n");
    client.send(`a APPEND INBOX {${size}}\r\n`);
    await client.skipTo("+ ");
    client.send(body);
    client.send("\r\n");
    expect(await client.skipTo("a ")).toMatch(/^a OK \[APPENDUID \d+ 4\]/);
    client.send("b UID FETCH 4 (RFC822.SIZE BODY.PEEK[])\r\n");
    expect(await client.skipTo("* 4 FETCH")).toBe(
      `* 4 FETCH (UID 4 RFC822.SIZE ${size} BODY[] {${size}}`,
    );
    expect((await client.readBytes(size)).equals(body)).toBe(true);
    expect(await client.readLine()).toBe(")");
    expect(await client.readLine()).toBe("b OK UID FETCH completed");
    client.close();
  });

  test("over quota is said before the client is asked to send", async () => {
    const port = await start();
    services.store.updateAccount(who.account, { quotaBytes: 2000 });
    const client = await loggedIn(port, "INBOX");
    client.send("a APPEND INBOX {5000}\r\n");
    expect(await client.readLine()).toBe("a NO [OVERQUOTA] Over quota, the limit is 2000 bytes");
    client.send("b APPEND INBOX {5000+}\r\n");
    client.send(`${"x".repeat(5000)}\r\nc NOOP\r\n`);
    expect(await client.readLine()).toBe("b NO [OVERQUOTA] Over quota, the limit is 2000 bytes");
    expect(await client.readLine()).toBe("c OK NOOP completed");
    client.close();
  });

  test("a slow reader that has logged out still gets everything", async () => {
    const port = await start({ closeGraceMs: 50, idleKeepAliveMs: 900 });
    const size = 8_000_000;
    await addMessage(services, who, "INBOX", "Subject: x\r\n\r\n".padEnd(size, "y"));
    const client = await loggedIn(port, "INBOX");
    client.pause();
    client.send("a FETCH 4 BODY.PEEK[]\r\nb LOGOUT\r\n");
    // Longer than the timer's tick and the grace, while nothing is read.
    const other = await loggedIn(port, "INBOX");
    other.send("n IDLE\r\n");
    await other.skipTo("* OK Still here");
    other.close();
    client.resume();
    await client.skipTo("* 4 FETCH");
    expect((await client.readBytes(size)).length).toBe(size);
    expect(await client.skipTo("b ")).toBe("b OK LOGOUT completed");
    await client.readEnd();
  });

  test("a long LIST waits for its reader between mailboxes", async () => {
    const port = await start({ outputBytesMax: 100_000 });
    const client = await loggedIn(port, "INBOX");
    for (let at = 0; at < 200; at++) client.send(`m CREATE box${at}\r\n`);
    for (let at = 0; at < 200; at++) await client.skipTo("m OK");
    const drained = vi.spyOn(Output.prototype, "drained");
    const entries = Array.from({ length: 60 }, (_, at) => `/private/${at}${"x".repeat(1000)}`);
    client.pause();
    client.send(`a LIST "" "*" RETURN (METADATA (${entries.join(" ")}))\r\n`);
    client.resume();
    expect(await client.skipTo("a ")).toBe("a OK LIST completed");
    expect(drained.mock.calls.length).toBeGreaterThan(1);
    drained.mockRestore();
    client.close();
  });

  test("IDLE says now and then that it is there", async () => {
    const port = await start({ idleKeepAliveMs: 100 });
    const client = await loggedIn(port, "INBOX");
    client.send("a IDLE\r\n");
    await client.skipTo("+ ");
    expect(await client.readLine()).toBe("* OK Still here");
    client.send("DONE\r\n");
    expect(await client.skipTo("a ")).toBe("a OK IDLE completed");
    client.close();
  });

  test("IDLE goes on after the store was away, and nothing is missed", async () => {
    const port = await start();
    const real = services.store;
    let calls = 0;
    real.watch = (principal, request, signal) => {
      calls++;
      if (calls === 1) throw new MailError({ code: "UNAVAILABLE", why: "test" });
      return FakeMailStore.prototype.watch.call(real, principal, request, signal);
    };
    const client = await loggedIn(port, "INBOX");
    client.send("a IDLE\r\n");
    await client.skipTo("+ ");
    await expect.poll(() => calls).toBe(1);
    await addMessage(services, who, "INBOX", "x: 1\r\n");
    expect(await client.readLine()).toBe("* 4 EXISTS");
    expect(await client.readLine()).toBe("* 4 RECENT");
    await addMessage(services, who, "INBOX", "x: 2\r\n");
    expect(await client.readLine()).toBe("* 5 EXISTS");
    client.close();
  });

  test("a store that is away is told as UNAVAILABLE, and the session goes on", async () => {
    const port = await start();
    const client = await loggedIn(port, "INBOX");
    const real = services.store;
    const away = (): Promise<never> =>
      Promise.reject(new MailError({ code: "UNAVAILABLE", why: "test" }));
    real.changes = away;
    real.store = away;
    client.send("a STORE 1 +FLAGS (\\Flagged)\r\nb NOOP\r\n");
    expect(await client.readLine()).toBe(
      "a NO [UNAVAILABLE] The mail store can't be reached now, try again",
    );
    expect(await client.readLine()).toBe("b OK NOOP completed");
    // Without these the methods of the class are seen again.
    Reflect.deleteProperty(real, "changes");
    Reflect.deleteProperty(real, "store");
    client.send("c STORE 1 +FLAGS (\\Flagged)\r\n");
    expect(await client.readLine()).toBe("* 1 FETCH (FLAGS (\\Seen \\Flagged \\Recent))");
    expect(await client.readLine()).toBe("c OK STORE completed");
    client.close();
  });
});
