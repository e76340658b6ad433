// THREAD over messages whose static rows are from before References were kept, as a gateway of that
// time still sends them: their header is read, in segments and in files alike. RFC 5256 §3

import { afterEach, beforeEach, expect, test } from "vitest";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import type { MessageSource } from "../../../src/mail/mail-store.ts";
import { localServices } from "../../support/local-services.ts";
import type { LocalServices } from "../../support/local-services.ts";

const never = new AbortController().signal;
let local: LocalServices;
beforeEach(async () => {
  local = await localServices();
});
afterEach(() => local.close());

test("old rows thread as new ones do, and new ones among them", async () => {
  const { services, who } = local;
  const headers = [
    "Message-ID: <a@x>",
    "Message-ID: <b@x>\r\nReferences: <a@x>",
    "Message-ID: <c@x>\r\nreferences:\r\n <a@x>\r\n <b@x>\r\nIn-Reply-To: <a@x>",
    "Message-ID: <d@x>\r\nIn-Reply-To: <c@x>",
    "Message-ID: <e@x>",
    "Message-ID: <f@x>\r\nReferences: <e@x>",
  ];
  const threads = async (isOld: (at: number) => boolean, mailbox: string) => {
    for (const [at, header] of headers.entries()) {
      const bytes = Buffer.from(`${header}\r\n\r\n${"x".repeat(at === 1 ? 2_000_000 : 10)}\r\n`);
      const { references, ...old } = indexMessage(bytes);
      const index = isOld(at) ? old : { ...old, references: references ?? "" };
      const source: MessageSource =
        at === 1
          ? {
              kind: "blob",
              blob: await services.store.writeBlob(who.shard, mailbox, once(bytes), never),
            }
          : { kind: "bytes", bytes };
      const messages = [{ source, index, flags: [], internalDateMs: at * 1000 }];
      await services.store.append(
        who,
        { opId: services.nextOpId(), retry: false, mailbox, messages },
        never,
      );
    }
    const { info } = await services.store.openMailbox(
      who,
      { name: mailbox, claimRecent: false },
      never,
    );
    const request = { mailbox: info.id, key: { kind: "all" }, thread: "references" } as const;
    const { threads: found } = await services.store.search(who, request, never);
    return [Array.from(found?.uids ?? []), Array.from(found?.depths ?? [])];
  };
  const expected = [
    [1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 0, 1],
  ];
  expect(await threads(() => false, "INBOX")).toEqual(expected);
  expect(await threads(() => true, "Sent")).toEqual(expected);
  expect(await threads((at) => at % 2 === 0, "Trash")).toEqual(expected);
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
