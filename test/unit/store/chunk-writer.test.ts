// Chunks of a FETCH: whatever the sizes, parts join to what was written, and no message's head is
// divided, since whoever passes it on looks into it.

import fc from "fast-check";
import { expect, test } from "vitest";
import { partsOf } from "../../../src/mail/fetch-parts.ts";
import type { FetchChunk } from "../../../src/mail/mail-store.ts";
import { ChunkWriter } from "../../../src/store/chunk-writer.ts";

interface Written {
  readonly head: string;
  readonly body: string | undefined;
}

const written = fc.record({
  head: fc.oneof(
    { weight: 9, arbitrary: fc.integer({ min: 0, max: 300 }) },
    fc.integer({ min: 0, max: 15_000 }),
  ),
  body: fc.option(
    fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 20_000 }) },
      fc.integer({ min: 0, max: 300_000 }),
    ),
    { nil: undefined },
  ),
});

function write(messages: readonly Written[], firstBytes: number | undefined): FetchChunk[] {
  const out = new ChunkWriter(firstBytes);
  const chunks: FetchChunk[] = [];
  for (const [at, { head, body }] of messages.entries()) {
    out.begin(at + 1);
    out.ascii(head);
    if (body !== undefined) {
      out.beginSections();
      out.ascii(" BODY[] ");
      out.bytes(Buffer.from(body));
    }
    out.end();
    chunks.push(...out.ready());
  }
  out.flush();
  return [...chunks, ...out.ready()];
}

function texts(messages: readonly Written[]): readonly string[] {
  return messages.map(
    ({ head, body }, at) => `UID ${at + 1}${head}${body === undefined ? "" : ` BODY[] ${body}`}`,
  );
}

test("parts join to what was written, with whole heads and the place where sections begin", () => {
  const property = fc.property(
    fc.array(written, { minLength: 1, maxLength: 60 }),
    fc.option(fc.constant(8192), { nil: undefined }),
    (sizes, firstBytes) => {
      const messages = sizes.map(({ head, body }) => ({
        head: " H".padEnd(head + 2, "h"),
        body: body === undefined ? undefined : "b".repeat(body),
      }));
      const parts = write(messages, firstBytes).flatMap(partsOf);
      const joined: string[] = [];
      let isFirst = true;
      for (const { uid, bytes, more, sectionsAt } of parts) {
        const text = Buffer.from(bytes).toString();
        const wanted = messages[uid - 1];
        if (isFirst) {
          expect(text.startsWith(`UID ${uid}${wanted?.head}`)).toBe(true);
          joined.push(text);
          if (more) expect(text.slice(sectionsAt)).toMatch(/^ BODY\[\] /);
        } else joined[joined.length - 1] += text;
        isFirst = !more;
      }
      expect(joined).toEqual(texts(messages));
    },
  );
  fc.assert(property, { numRuns: 60 });
});

test("a listing of many messages divides none of them", () => {
  const messages = Array.from({ length: 20_000 }, () => ({ head: " FLAGS ()", body: undefined }));
  const parts = write(messages, undefined).flatMap(partsOf);
  expect(parts).toHaveLength(20_000);
  expect(parts.every(({ more }) => !more)).toBe(true);
});
