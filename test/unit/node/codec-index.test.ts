// A message's index on the wire: read back as it was; cut or changed bytes are INVALID or another index.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeIndex, encodeIndex } from "../../../src/cluster/node/codec-index.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import type { MessageIndex, PartIndex } from "../../../src/mail/message-index.ts";

const offset = fc.nat({ max: 2 ** 31 });
const text = fc.string({ unit: "grapheme", maxLength: 70 });
const { part } = fc.letrec<{ part: PartIndex }>((tie) => ({
  part: fc.record(
    {
      headerStart: offset,
      bodyStart: offset,
      bodyEnd: offset,
      type: fc.constantFrom("text/plain", "multipart/mixed", "한글/타입"),
      encoding: text,
      charset: text,
      children: fc.array(tie("part"), { maxLength: 2 }),
      message: fc.option(tie("part"), { nil: undefined, depthSize: "small" }),
    },
    { requiredKeys: ["headerStart", "bodyStart", "bodyEnd", "type", "encoding"] },
  ) as fc.Arbitrary<PartIndex>,
}));
const index = fc.record(
  {
    sizeBytes: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    envelope: fc.uint8Array(),
    bodyStructure: fc.uint8Array(),
    root: part,
    sentMs: fc.maxSafeInteger(),
    sentZone: fc.integer({ min: -5999, max: 5999 }),
    messageId: text,
    references: text,
    has8bit: fc.boolean(),
  },
  { requiredKeys: ["sizeBytes", "envelope", "bodyStructure", "root"] },
) as fc.Arbitrary<MessageIndex>;

describe("a message's index", () => {
  it("comes back", () => {
    fc.assert(
      fc.property(index, (given) => {
        const { envelope, bodyStructure, ...rest } = decodeIndex(encodeIndex(given));
        expect(Uint8Array.from(envelope)).toEqual(given.envelope);
        expect(Uint8Array.from(bodyStructure)).toEqual(given.bodyStructure);
        const { envelope: _, bodyStructure: __, ...others } = given;
        expect(rest).toEqual(others);
      }),
    );
  });

  it("is refused when bytes are missing or left over", () => {
    fc.assert(
      fc.property(index, fc.nat(), (given, cut) => {
        const bytes = encodeIndex(given);
        const refused = (value: unknown): void => {
          try {
            decodeIndex(value);
          } catch (error) {
            expect(isMailError(error, "INVALID")).toBe(true);
            return;
          }
          expect.unreachable("malformed bytes are refused");
        };
        refused(bytes.subarray(0, cut % bytes.length));
        refused(Buffer.concat([bytes, Buffer.of(0)]));
        refused("text");
      }),
    );
  });
});
