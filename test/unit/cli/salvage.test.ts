// Names of salvaged folders: one level each, whatever a mailbox was called.

import fc from "fast-check";
import { expect, test } from "vitest";
import { safeName } from "../../../src/cli/salvage.ts";

test.each([
  ["INBOX", "INBOX"],
  ["받은 편지함", "받은 편지함"],
  ["..", "%2e."],
  [".hidden", "%2ehidden"],
  ["a/b", "a%2fb"],
  ["cur", "%cur"],
  ["new", "%new"],
  ["a\u0000b", "a%00b"],
  ["", "%"],
])("%j becomes %j", (name, expected) => {
  expect(safeName(name)).toBe(expected);
});

test("is always one short level and never climbs", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 400 }), (name) => {
      const safe = safeName(name);
      expect(safe).not.toMatch(/[/\\\u0000-\u001f]|^\.|^(cur|new|tmp)?$/);
      expect(Buffer.byteLength(safe)).toBeLessThanOrEqual(255);
    }),
  );
});
