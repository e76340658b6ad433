// MOVE and EXPUNGE of very many messages: several changes of the store, one answer to the client.

import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { slicesOfSet, View } from "../../../src/gateway/imap/view.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { uidSetFromRanges, uidSetFromSorted, uidSetHas } from "../../../src/mail/uid-set.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { addMessage, seedAccount } from "./support.ts";

let listener: Listener | undefined;
let client: LineClient | undefined;
afterEach(async () => {
  client?.close();
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

/** An INBOX of seven messages, two of which a change may take at once, and `Archive`. */
async function withSeven(): Promise<{
  readonly services: FakeServices;
  readonly run: (command: string) => Promise<readonly string[]>;
}> {
  const services = fakeServices();
  const who = await seedAccount(services);
  for (let n = 4; n <= 7; n++) await addMessage(services, who, "INBOX", `x: ${n}\r\n`);
  const limits = { changedAtOnceMax: 2 };
  const where = { address: "127.0.0.1", port: 0, implicitTls: false };
  listener = await startImap({ services, limits, ...where });
  const connected = await LineClient.connect({ port: listener.port });
  client = connected;
  const run = async (command: string): Promise<readonly string[]> => {
    connected.send(`t ${command}\r\n`);
    const lines: string[] = [];
    do lines.push(await connected.readLine());
    while (lines.at(-1)?.startsWith("t ") !== true);
    return lines;
  };
  await run("LOGIN u1 secret");
  await run("CREATE Archive");
  await run("SELECT INBOX");
  return { services, run };
}

/** The UID sets that a method of the store was asked to change. */
function asked(
  services: FakeServices,
  method: "move" | "expunge",
): (readonly number[] | undefined)[] {
  const sets: (readonly number[] | undefined)[] = [];
  const { store } = services;
  const original = store[method].bind(store) as (...all: unknown[]) => Promise<never>;
  Object.assign(store, {
    [method]: (who: unknown, request: { readonly uids?: readonly number[] }, signal: unknown) => {
      sets.push(request.uids);
      return original(who, request, signal);
    },
  });
  return sets;
}

describe("many messages", () => {
  test("are moved in several changes, with one COPYUID before the EXPUNGEs", async () => {
    const { services, run } = await withSeven();
    const sets = asked(services, "move");
    const answer = await run("UID MOVE 2:6 Archive");
    expect(sets).toEqual([
      [2, 3],
      [4, 5],
      [6, 6],
    ]);
    expect(answer[0]).toMatch(/^\* OK \[COPYUID \d+ 2:6 1:5\]/);
    expect(answer.slice(1)).toEqual([
      ...Array.from({ length: 5 }, () => "* 2 EXPUNGE"),
      "t OK UID MOVE completed",
    ]);
    expect(await run("STATUS Archive (MESSAGES)")).toContain(`* STATUS "Archive" (MESSAGES 5)`);
    expect(await run("NOOP")).toEqual(["t OK NOOP completed"]);
  });

  test("that are moved in part are told, and the command fails", async () => {
    const { services, run } = await withSeven();
    const { store } = services;
    const move = store.move.bind(store);
    let left = 2;
    store.move = (...request) => {
      if (left-- > 0) return move(...request);
      return Promise.reject(new MailError({ code: "OVER_QUOTA", limitBytes: 1 }));
    };
    const answer = await run("MOVE 1:* Archive");
    expect(answer[0]).toMatch(/^\* OK \[COPYUID \d+ 1:4 1:4\]/);
    expect(answer.slice(1, 5)).toEqual(Array.from({ length: 4 }, () => "* 1 EXPUNGE"));
    expect(answer[5]).toMatch(/^t NO \[OVERQUOTA\]/);
    expect(await run("UID SEARCH ALL")).toEqual(["* SEARCH 5 6 7", "t OK UID SEARCH completed"]);
  });

  test("go to a mailbox that must be there, even when none are named", async () => {
    const { run } = await withSeven();
    expect(await run("UID MOVE 99 Nowhere")).toEqual([
      expect.stringMatching(/^t NO \[TRYCREATE\]/),
    ]);
  });

  test("are expunged in several changes, also those that the client does not know of yet", async () => {
    const { services, run } = await withSeven();
    await run("STORE 1:* +FLAGS.SILENT (\\Deleted)");
    const sets = asked(services, "expunge");
    const answer = await run("EXPUNGE");
    expect(sets).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 4_294_967_295],
    ]);
    expect(answer).toEqual([
      ...Array.from({ length: 7 }, () => "* 1 EXPUNGE"),
      "t OK EXPUNGE completed",
    ]);
  });

  test("are expunged by CLOSE in several changes", async () => {
    const { services, run } = await withSeven();
    await run("STORE 1:6 +FLAGS.SILENT (\\Deleted)");
    const sets = asked(services, "expunge");
    expect(await run("CLOSE")).toEqual(["t OK CLOSE completed"]);
    expect(sets).toHaveLength(4);
    expect(await run("STATUS INBOX (MESSAGES)")).toContain(`* STATUS "INBOX" (MESSAGES 1)`);
  });
});

test("slices of a set name all that it names, once, and no more messages each than they may", () => {
  const uids = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 40 });
  const ranges = fc.array(fc.tuple(fc.integer({ min: 1, max: 70 }), fc.nat(30)), { maxLength: 6 });
  const property = fc.property(uids, ranges, fc.integer({ min: 1, max: 7 }), (all, asks, most) => {
    const view = new View(Uint32Array.from(all).sort());
    const set = uidSetFromRanges(asks.map(([low, more]) => [low, low + more]));
    const slices = slicesOfSet(view, set, most);
    const named = (each: readonly number[]): number[] => all.filter((uid) => uidSetHas(each, uid));
    for (const slice of slices) expect(named(slice).length).toBeLessThanOrEqual(most);
    const numbers = slices.flatMap((slice) =>
      Array.from({ length: 101 }, (_, at) => at).filter((uid) => uidSetHas(slice, uid)),
    );
    expect(uidSetFromSorted(numbers)).toEqual(set);
    expect(new Set(numbers).size).toBe(numbers.length);
    if (named(set).length <= most) expect(slices).toEqual([set]);
  });
  fc.assert(property, { numRuns: 300 });
});
