// Dates of headers and of IMAP.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  dayOf,
  formatDateTime,
  formatMessageDate,
  parseDateText,
  parseDateTime,
  parseMessageDate,
} from "../../../src/mail/dates.ts";

describe("the Date: header", () => {
  test.each([
    ["Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T15:55:06Z", -360],
    [
      "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)",
      "1969-02-14T03:02:00Z",
      -210,
    ],
    ["21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z", 0],
    ["Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", undefined, 0],
    ["1 Jan 49 00:00 EST", "2049-01-01T05:00:00Z", -300],
    ["1 Jan 102 00:00 PDT", "2002-01-01T07:00:00Z", -420],
    ["1 Jan 2020 00:00:00 Z", "2020-01-01T00:00:00Z", 0],
    ["1 Jan 2020 00:00:00 X", "2020-01-01T00:00:00Z", 0],
    ["1 Jan 2020 00:00:00 KST", "2019-12-31T15:00:00Z", 540],
    ["1 Jan 2020 00:00:00 +0900 (KST)", "2019-12-31T15:00:00Z", 540],
    ["1 Jan 2020 00:00:00 +09:00", "2019-12-31T15:00:00Z", 540],
    ["1 Jan 2020", "2020-01-01T00:00:00Z", 0],
    ["Sun Nov 6 08:49:37 1994", "1994-11-06T08:49:37Z", 0],
    ["17-Jul-1996 02:44:25 -0700", "1996-07-17T09:44:25Z", -420],
    ["29 Feb 2020 23:59:60 +0000", "2020-03-01T00:00:00Z", 0],
    ["29 Feb 2021 00:00:00 +0000", undefined, 0],
    ["32 Jan 2020 00:00", undefined, 0],
    ["1 Foo 2020 00:00", undefined, 0],
    ["1 Jan 2020 24:00", undefined, 0],
    ["", undefined, 0],
    ["(((", undefined, 0],
    ["yesterday", undefined, 0],
  ])("%j", (text, iso, zoneMinutes) => {
    const expected = iso === undefined ? undefined : { ms: Date.parse(iso), zoneMinutes };
    expect(parseMessageDate(text)).toEqual(expected);
  });

  test("that we write is read back", () => {
    expect(formatMessageDate(837_596_665_000, -420)).toBe("Wed, 17 Jul 1996 02:44:25 -0700");
    expect(formatMessageDate(0)).toBe("Thu, 1 Jan 1970 00:00:00 +0000");
  });
});

describe("IMAP", () => {
  test("date-time of RFC 3501 §7.4.2", () => {
    expect(parseDateTime("17-Jul-1996 02:44:25 -0700")).toEqual({
      ms: 837_596_665_000,
      zoneMinutes: -420,
    });
    expect(formatDateTime(837_596_665_000, -420)).toBe("17-Jul-1996 02:44:25 -0700");
    expect(formatDateTime(Date.UTC(2020, 0, 2))).toBe(" 2-Jan-2020 00:00:00 +0000");
    expect(formatDateTime(Number.NaN)).toBe(" 1-Jan-1970 00:00:00 +0000");
  });

  test.each([
    "",
    "17-Jul-1996",
    "17-Jul-1996 02:44:25",
    "17-Jul-96 02:44:25 -0700",
    "31-Feb-1996 02:44:25 -0700",
    "17-Jul-1996 24:44:25 -0700",
    "17-Jul-1996 02:44:25 -0799",
    "17-Jul-1996 02:44:25 -0700 ",
    "x17-Jul-1996 02:44:25 -0700",
  ])("refuses date-time %j", (text) => {
    expect(parseDateTime(text)).toBeUndefined();
  });

  test("date-time goes both ways", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.UTC(1970, 0, 2) / 1000, max: 4_000_000_000 }),
        fc.integer({ min: -840, max: 840 }),
        (seconds, zoneMinutes) => {
          const text = formatDateTime(seconds * 1000, zoneMinutes);
          expect(text).toHaveLength(26);
          expect(parseDateTime(text)).toEqual({ ms: seconds * 1000, zoneMinutes });
          expect(parseMessageDate(formatMessageDate(seconds * 1000, zoneMinutes))).toEqual({
            ms: seconds * 1000,
            zoneMinutes,
          });
        },
      ),
    );
  });

  test("days don't depend on the time of day, but on the zone it was written in", () => {
    expect(parseDateText("1-Feb-1994")).toBe(dayOf(Date.UTC(1994, 1, 1, 23, 59)));
    expect(parseDateText("01-feb-1994")).toBe(dayOf(Date.UTC(1994, 1, 1)));
    expect(dayOf(Date.UTC(1994, 1, 1, 23), 540)).toBe(parseDateText("2-Feb-1994"));
    expect(parseDateText("1-Jan-1960")).toBe(-3653);
    for (const bad of ["", "0-Jan-1994", "30-Feb-1994", "1-Foo-1994", "1-Feb-94", "1 Feb 1994"]) {
      expect(parseDateText(bad)).toBeUndefined();
    }
  });
});
