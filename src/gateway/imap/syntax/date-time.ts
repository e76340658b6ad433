// Dates as arguments of commands: `date` of SEARCH and `date-time` of APPEND. Their text forms are
// mail/dates.ts's business. RFC 9051 §9

import { parseDateText, parseDateTime } from "../../../mail/dates.ts";
import type { ZonedTime } from "../../../mail/dates.ts";
import type { Day } from "../../../mail/search-key.ts";
import { quote } from "./characters.ts";
import type { Cursor } from "./cursor.ts";

/** `1-Feb-1994`, quoted or not. */
export function dayArgument(cursor: Cursor): Day {
  const text = cursor.peek() === quote ? cursor.text(cursor.string()) : cursor.atom();
  const day = parseDateText(text);
  if (day === undefined) cursor.fail("expected a date like 1-Feb-1994");
  return day ?? 0;
}

/** `"17-Jul-1996 02:44:25 -0700"`, always quoted. */
export function dateTimeArgument(cursor: Cursor): ZonedTime {
  const time = parseDateTime(cursor.text(cursor.string()));
  if (time === undefined) cursor.fail('expected a date-time like "17-Jul-1996 02:44:25 -0700"');
  return time ?? { ms: 0, zoneMinutes: 0 };
}
