// Repeated requests: whatever the first try was doing when its caller gave up, the message is stored
// once, and each recipient entry of a delivery is one message.

import { describe, expect, it } from "vitest";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { addAccount, change, makeStore, message, never } from "./harness.ts";

const bytes = message("large");
const blob = { shard: 3, id: "d1", sizeBytes: bytes.length, sha256: "" };

describe("a repeated APPEND", () => {
  it("is stored once when the first try was still looking for its blob", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const { journal, store } = harness;
    journal.blobs.set("d1", bytes);
    const gates: (() => void)[] = [];
    journal.hasBlob = () =>
      new Promise((resolve) => {
        gates.push(() => resolve(true));
      });
    const source = { kind: "blob" as const, blob: { ...blob, shard: who.shard } };
    const messages = [{ source, index: indexMessage(bytes), flags: [] }];
    const request = { ...change(), mailbox: "INBOX", messages };
    const gone = new AbortController();
    const first = store.append(who, request, gone.signal);
    first.catch(() => undefined);
    gone.abort();
    const second = store.append(who, { ...request, retry: true }, never);
    // The disk answers the second question before the first.
    for (let turn = 0; turn < 20; turn++) {
      gates.pop()?.();
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    const { uids } = await second;
    await first.catch(() => undefined);
    expect(uids).toEqual([1]);
    const inbox = await store.openMailbox(who, { name: "INBOX", claimRecent: false });
    expect([...inbox.uids]).toEqual([1]);
  });
});
