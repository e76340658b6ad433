// The judgement over announcements in chaos runs (test/support/chaos-announcements.ts) finds what is wrong.

import { expect, test } from "vitest";
import { judgeView, type Told } from "../../support/chaos-announcements.ts";

const told: Told = {
  accepted: new Map([
    ["a", 0],
    ["b", 0],
  ]),
  unknown: new Set(["c"]),
  kept: new Set(["u1 1 \\Seen"]),
  tried: new Set(["u1 1 \\Seen", "u1 2 \\Flagged"]),
};
const a = shown(1, "a", "\\Seen");
const b = shown(2, "b", "");

test.each([
  { what: "all is well", lines: [a, b], wrong: [] },
  { what: "a try without an answer may be there", lines: [a, b, shown(3, "c", "")], wrong: [] },
  {
    what: "a flag without an answer may be there",
    lines: [a, shown(2, "b", "\\Flagged")],
    wrong: [],
  },
  { what: "one is lost", lines: [a], wrong: ["0 of announcement b, not 1"] },
  {
    what: "one is there twice",
    lines: [a, b, shown(3, "b", "")],
    wrong: ["2 of announcement b, not 1"],
  },
  {
    what: "a try without an answer is there twice",
    lines: [a, b, shown(3, "c", ""), shown(4, "c", "")],
    wrong: ["2 of announcement c"],
  },
  {
    what: "one that nobody sent",
    lines: [a, b, shown(3, "d", "")],
    wrong: ["1 of announcement d"],
  },
  { what: "a flag is lost", lines: [shown(1, "a", ""), b], wrong: ["\\Seen of a is lost"] },
  {
    what: "a flag of somebody else",
    lines: [a, shown(2, "b", "\\Seen")],
    wrong: ["\\Seen of b was never given"],
  },
])("$what", ({ lines, wrong }) => {
  expect(judgeView(lines, "u1", told)).toEqual(wrong);
});

function shown(uid: number, id: string, flags: string) {
  return {
    text: `* ${uid} FETCH (UID ${uid} FLAGS (${flags}) BODY[HEADER.FIELDS (X-Announcement)] {1}`,
    literals: [Buffer.from(`X-Announcement: ${id}\r\n\r\n`)],
  };
}
