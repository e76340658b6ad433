// SEARCH in Korean mail of every kind: found by reading it, and by the index.

import { describe, expect, it } from "vitest";
import { koreanMail } from "../../../support/korean-mail.ts";
import { addAccount } from "../harness.ts";
import { deliverAll, found, makeIndexed, scanned } from "./support.ts";

describe("SEARCH in Korean mail", async () => {
  const store = await makeIndexed();
  const who = await addAccount(store);
  await deliverAll(
    store,
    who,
    koreanMail.map(({ bytes }) => bytes),
  );
  await store.index.buildNow();
  expect(store.index.figures.messages).toBe(koreanMail.length);

  it.each(koreanMail.map((mail, at) => ({ ...mail, uid: at + 1 })))(
    "finds its texts in $name",
    async ({ finds, uid }) => {
      for (const key of finds) {
        const uids = await scanned(store, who, key);
        expect(uids, JSON.stringify(key)).toContain(uid);
        expect(await found(store, who, key), JSON.stringify(key)).toEqual(uids);
      }
    },
  );

  it("finds nothing that is not there", async () => {
    const key = { kind: "text", text: "없는말" } as const;
    expect(await found(store, who, key)).toEqual([]);
    expect(await scanned(store, who, key)).toEqual([]);
  });
});
