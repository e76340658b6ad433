// When a session asks the store: a change of its own that nothing came between needs no `changes`, and
// a watch that begins to listen late needs one more.

import { afterEach, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { addMessage, seedAccount } from "./support.ts";

let listener: Listener | undefined;
afterEach(async () => {
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

test("STORE and EXPUNGE ask no more, until another's change comes between", async () => {
  const services = fakeServices();
  const who = await seedAccount(services);
  let asked = 0;
  const { store } = services;
  const changes = store.changes.bind(store);
  store.changes = (...request) => {
    asked++;
    return changes(...request);
  };
  listener = await startImap({ services, address: "127.0.0.1", port: 0, implicitTls: false });
  const client = await LineClient.connect({ port: listener.port });
  const run = async (command: string): Promise<readonly string[]> => {
    client.send(`t ${command}\r\n`);
    const lines: string[] = [];
    do lines.push(await client.readLine());
    while (lines.at(-1)?.startsWith("t ") !== true);
    return lines;
  };
  await run("LOGIN u1 secret");
  await run("SELECT INBOX");
  await run("NOOP");
  asked = 0;
  await run("STORE 1 +FLAGS (\\Answered)");
  await run("UID STORE 1:2 +FLAGS.SILENT (\\Deleted)");
  await run("STORE 1 +FLAGS (\\Answered)");
  expect(await run("EXPUNGE")).toEqual(["* 1 EXPUNGE", "* 1 EXPUNGE", "t OK EXPUNGE completed"]);
  expect(asked).toBe(0);
  await addMessage(services, who, "INBOX", "x: 1\r\n");
  expect(await run("STORE 1 +FLAGS (\\Answered)")).toContain("* 2 EXISTS");
  expect(asked).toBe(1);
  client.close();
});

test("IDLE tells what happened between its first look and the watch's registration", async () => {
  const services = fakeServices();
  const who = await seedAccount(services);
  const { store } = services;
  const changes = store.changes.bind(store);
  let looked = 0;
  store.changes = async (...request) => {
    const answer = await changes(...request);
    looked++;
    return answer;
  };
  // As over a link: the node registers the listener some time after the call.
  let register: () => void = () => {};
  const registered = new Promise<void>((resolve) => {
    register = resolve;
  });
  const watch = store.watch.bind(store);
  store.watch = async function* late(...request) {
    await registered;
    yield* watch(...request);
  };
  listener = await startImap({ services, address: "127.0.0.1", port: 0, implicitTls: false });
  const client = await LineClient.connect({ port: listener.port });
  client.send("a LOGIN u1 secret\r\nb SELECT INBOX\r\n");
  while (!(await client.readLine()).startsWith("b OK")) continue;
  client.send("c IDLE\r\n");
  expect(await client.readLine()).toBe("+ idling");
  await expect.poll(() => looked).toBe(1);
  await addMessage(services, who, "INBOX", "x: 1\r\n");
  register();
  expect(await client.readLine()).toBe("* 4 EXISTS");
  client.close();
});

test("SELECT with QRESYNC counts no message that went while it was answered", async () => {
  const services = fakeServices();
  const who = await seedAccount(services);
  const { store } = services;
  const changes = store.changes.bind(store);
  store.changes = async (...request) => {
    const [, { mailbox }, signal] = request;
    const change = { opId: services.nextOpId(), retry: false, mailbox, uids: [2, 2] };
    await store.store(who, { ...change, mode: "add", flags: ["\\Deleted"] }, signal);
    await store.expunge(who, { ...change, opId: services.nextOpId() }, signal);
    return changes(...request);
  };
  listener = await startImap({ services, address: "127.0.0.1", port: 0, implicitTls: false });
  const client = await LineClient.connect({ port: listener.port });
  client.send("a LOGIN u1 secret\r\nb ENABLE QRESYNC\r\nc STATUS INBOX (UIDVALIDITY)\r\n");
  const status = await lineLike(client, /^\* STATUS/);
  const validity = /UIDVALIDITY (\d+)/.exec(status)?.[1];
  client.send(`d SELECT INBOX (QRESYNC (${validity} 1))\r\n`);
  // A client that puts its list together from the answer must come to as many messages.
  expect(await lineLike(client, /EXISTS$/)).toBe("* 2 EXISTS");
  expect(await lineLike(client, /VANISHED/)).toBe("* VANISHED (EARLIER) 2");
  expect(await lineLike(client, /FETCH/)).toMatch(/^\* 1 FETCH \(UID 1 /);
  expect(await lineLike(client, /FETCH/)).toMatch(/^\* 2 FETCH \(UID 3 /);
  client.send("e NOOP\r\n");
  await lineLike(client, /^d OK/);
  expect(await client.readLine()).toBe("e OK NOOP completed");
  client.close();
});

async function lineLike(client: LineClient, pattern: RegExp): Promise<string> {
  for (;;) {
    const line = await client.readLine();
    if (pattern.test(line)) return line;
  }
}
