// Many clients on one mailbox at the same time, each with its own model of it: random commands, every
// response checked, and at the end all agree with the store. Runs over any MailStore.

import { expect } from "vitest";
import type { GatewayServices } from "../../../src/gateway/services.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { partsOf } from "../../../src/mail/fetch-parts.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import { ModelClient, sortedFlags } from "./model-client.ts";
import { addMessage } from "./support.ts";

const sessionCount = 5;

/**
 * Runs the sessions over the account u1, spread over the listeners: `stepCount` steps each, and on
 * until `meanwhile` is over, which may stop and start what is behind the listeners.
 * Rejects at the first violation; the error names the seed.
 */
export async function runSessions(
  services: GatewayServices,
  who: Principal,
  ports: readonly number[],
  seed: number,
  stepCount: number,
  meanwhile: () => Promise<void> = async () => {},
): Promise<void> {
  const random = randomFrom(seed);
  const clients: ModelClient[] = [];
  try {
    for (let i = 0; i < sessionCount; i++) {
      const name = String.fromCharCode(97 + i);
      const port = ports[i % ports.length] ?? 0;
      clients.push(await ModelClient.open(port, name, "INBOX", i % 3 === 2));
    }
    let over = false;
    const runs = clients.map(async (client) => {
      for (let step = 0; step < stepCount || !over; step++) {
        if (random(12) === 0) {
          await client.idle(addMessage(services, who, "INBOX", "x: 1\r\n").catch(whenUnavailable));
          continue;
        }
        const reply = await client.run(nextCommand(random, client.messages.length));
        expect(reply, client.transcript.join("\n")).toMatch(answers);
      }
    });
    await Promise.all([
      ...runs,
      meanwhile().finally(() => {
        over = true;
      }),
    ]);
    const truth = await storedMessages(services, who);
    for (const client of clients) await checkAgainst(client, truth);
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  } finally {
    for (const client of clients) client.close();
  }
}

/** With nodes away for long, UNAVAILABLE is the only refusal that a session gives for it. */
const answers = /^(OK|BAD A message number|NO \[UNAVAILABLE\])/;

function whenUnavailable(error: unknown): void {
  if (!isMailError(error, "UNAVAILABLE") && !isMailError(error, "REPLICA_UNREACHABLE")) throw error;
}

async function checkAgainst(client: ModelClient, truth: readonly string[]): Promise<void> {
  await client.run("NOOP");
  expect(client.messages.length, client.transcript.join("\n")).toBe(truth.length);
  // What was told without being asked for must be true already.
  client.messages.forEach((message, at) => {
    if (message.flags === undefined || message.uid === undefined) return;
    expect(`${message.uid} ${message.flags}`, client.transcript.join("\n")).toBe(truth[at]);
  });
  await client.run("UID FETCH 1:* (FLAGS)");
  const known = client.messages.map(({ uid, flags }) => `${uid} ${flags}`);
  expect(known, client.transcript.join("\n")).toEqual(truth);
}

/** `uid flags` of every message of the INBOX. */
async function storedMessages(
  services: GatewayServices,
  who: Principal,
): Promise<readonly string[]> {
  const { store } = services;
  const { signal } = new AbortController();
  const { id } = await store.mailboxStatus(who, "INBOX", signal);
  const found: string[] = [];
  const request = { mailbox: id, uids: allUids, items: { flags: true } };
  for await (const chunk of store.fetch(who, request, signal)) {
    for (const { uid, bytes } of partsOf(chunk)) {
      const flags = /FLAGS \(([^)]*)\)/.exec(Buffer.from(bytes).toString("latin1"));
      found.push(`${uid} ${sortedFlags(flags?.[1] ?? "")}`);
    }
  }
  return found;
}

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
  ];
  return commands[random(commands.length)] ?? "NOOP";
}
