// Many clients on one mailbox, each with its own model of it: random commands at the same time, every
// response checked, and at the end all agree with the store. A failure names its seed.

import { describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { mailboxNamed } from "../../support/fake/mailbox-tree.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { ModelClient, sortedFlags } from "./model-client.ts";
import { addMessage, seedAccount } from "./support.ts";

const sessionCount = 5;
const stepCount = 50;
const seeds = [1, 2, 3, 4, 5, 6];

/** A small generator: the same seed gives the same numbers. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function nextCommand(random: (below: number) => number, count: number): string {
  const n = 1 + random(Math.max(count, 1));
  const m = 1 + random(Math.max(count, 1));
  const flag = ["\\Seen", "\\Flagged", "\\Deleted", "$Work"][random(4)] ?? "";
  const sign = ["+", "-", ""][random(3)] ?? "";
  const commands = [
    "NOOP",
    `FETCH ${n}:${m} (UID FLAGS)`,
    `FETCH ${n} (UID)`,
    "UID FETCH 1:* (FLAGS)",
    `STORE ${n}:${m} ${sign}FLAGS (${flag})`,
    `STORE ${n} ${sign}FLAGS.SILENT (${flag})`,
    `UID STORE ${n}:* ${sign}FLAGS (${flag})`,
    "EXPUNGE",
    `UID EXPUNGE ${n}:${n + 5}`,
    `COPY ${n} INBOX`,
    `COPY ${n}:${m} Archive`,
    `MOVE ${n} Archive`,
    `UID MOVE ${n * 2}:${n * 2 + 1} INBOX`,
    "SEARCH ALL",
    "UID SEARCH UNSEEN",
    "APPEND INBOX {6+}\r\nx: 1\r\n",
    `FETCH ${n} (UID BODY[HEADER.FIELDS (X)]<0.1>)`.replace("<0.1>", ""),
  ];
  return commands[random(commands.length - 1)] ?? "NOOP";
}

describe("several sessions on one mailbox", () => {
  test.each(seeds)("seed %i", async (seed) => {
    const random = randomFrom(seed);
    const services = fakeServices();
    const who = await seedAccount(services);
    const listener = await startImap({
      services,
      address: "127.0.0.1",
      port: 0,
      implicitTls: false,
    });
    const clients: ModelClient[] = [];
    try {
      for (let i = 0; i < sessionCount; i++) {
        const name = String.fromCharCode(97 + i);
        clients.push(await ModelClient.open(listener.port, name, "INBOX", i % 3 === 2));
      }
      await Promise.all(
        clients.map(async (client) => {
          for (let step = 0; step < stepCount; step++) {
            if (random(12) === 0) {
              const delivered = addMessage(services, who, "INBOX", "x: 1\r\n");
              await client.idle(delivered);
            } else {
              const reply = await client.run(nextCommand(random, client.messages.length));
              expect(reply, client.transcript.join("\n")).toMatch(/^(OK|BAD A message number)/);
            }
          }
        }),
      );
      const account = services.store.accounts.get(who.account);
      if (account === undefined) throw new Error("the account is there");
      const truth = mailboxNamed(account, "INBOX").messages.map(
        ({ uid, flags }) => `${uid} ${sortedFlags(flags.join(" "))}`,
      );
      for (const client of clients) {
        await client.run("NOOP");
        // What was told without being asked for must be true already.
        client.messages.forEach((message, at) => {
          if (message.flags === undefined || message.uid === undefined) return;
          expect(`${message.uid} ${message.flags}`, client.transcript.join("\n")).toBe(truth[at]);
        });
        await client.run("UID FETCH 1:* (FLAGS)");
        const known = client.messages.map(({ uid, flags }) => `${uid} ${flags}`);
        expect(known, client.transcript.join("\n")).toEqual(truth);
      }
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    } finally {
      for (const client of clients) client.close();
      await listener.close(AbortSignal.abort());
    }
  });
});
