// Dates of mail: the Date: header (with the obsolete forms still seen), IMAP's date-time and date.
// Days are counted since 1970-01-01 without a time zone, as search keys want them.

import type { Day } from "./search-key.ts";

/** A moment with the zone it was written in. */
export interface ZonedTime {
  /** Milliseconds since 1970 UTC. */
  readonly ms: number;
  /** Minutes east of UTC. */
  readonly zoneMinutes: number;
}

const monthNames = [
  "jan",
  "feb",
  "mar",
  "apr",
  "may",
  "jun",
  "jul",
  "aug",
  "sep",
  "oct",
  "nov",
  "dec",
];
const monthLabels = [
  "Jan",
  "Feb",
  "Mar",
  "Apr",
  "May",
  "Jun",
  "Jul",
  "Aug",
  "Sep",
  "Oct",
  "Nov",
  "Dec",
];
const dayMs = 86_400_000;
const dateTextMax = 200;

// RFC 5322 §4.3: the named zones; all others, and the military letters, count as UTC.
const zoneHours: ReadonlyMap<string, number> = new Map([
  ["EST", -5],
  ["EDT", -4],
  ["CST", -6],
  ["CDT", -5],
  ["MST", -7],
  ["MDT", -6],
  ["PST", -8],
  ["PDT", -7],
  ["KST", 9],
  ["JST", 9],
]);

/**
 * Reads the value of a Date: header; undefined when it can't be read. RFC 5322 §3.3, §4.3
 * Also taken: a missing day name, seconds or zone (UTC), comments, two- and three-digit years,
 * `Nov 6 1994` order and asctime's year at the end.
 */
export function parseMessageDate(text: string): ZonedTime | undefined {
  const usual = usualDate.exec(text);
  return (usual === null ? undefined : readUsual(usual)) ?? readWords(text);
}

/** What nearly all mail has: `Sun, 22 Nov 2026 16:00:00 +0000`. */
const usualDate = /^(?:[A-Za-z]{3}, )?(\d\d?) ([A-Za-z]{3}) (\d{4}) (\d\d:\d\d:\d\d) ([+-]\d{4})$/;

function readUsual(match: RegExpExecArray): ZonedTime | undefined {
  const [, day = "", name = "", year = "", clock = "", zone = ""] = match;
  const month = monthNames.indexOf(name.toLowerCase());
  const seconds = clockSeconds(clock);
  if (month < 0 || seconds === undefined) return undefined;
  return zoned(Number(year), month, Number(day), seconds, numericZone(zone));
}

function readWords(text: string): ZonedTime | undefined {
  const words = dateWords(text.slice(0, dateTextMax));
  let day: number | undefined;
  let month = -1;
  let year: number | undefined;
  let seconds: number | undefined;
  let zone: number | undefined;
  for (const word of words) {
    const first = word.charCodeAt(0);
    if (first >= 0x30 && first <= 0x39) {
      if (word.includes(":") || (word.includes(".") && year !== undefined)) {
        seconds ??= clockSeconds(word);
        if (seconds === undefined) return undefined;
      } else if (day === undefined) day = Number(word);
      else year ??= fullYear(word);
    } else if (seconds !== undefined && zone === undefined && (first === 0x2b || first === 0x2d)) {
      zone = numericZone(word);
    } else if (month < 0 && isMonth(word)) {
      month = monthNames.indexOf(word.slice(0, 3).toLowerCase());
    } else if (seconds !== undefined && zone === undefined) {
      zone = (zoneHours.get(word.toUpperCase()) ?? 0) * 60;
    }
  }
  if (day === undefined || month < 0 || year === undefined) return undefined;
  return zoned(year, month, day, seconds ?? 0, zone ?? 0);
}

/** Words between blanks, commas and comments; dashes part `17-Jul-1996`. */
function dateWords(text: string): readonly string[] {
  const plain = text.includes("(") ? withoutComments(text) : text;
  return plain
    .replace(/^(\D{0,12}\d{1,2})-([A-Za-z]{3,9})-(\d{2,4})\b/, "$1 $2 $3")
    .split(/[\s,]+/)
    .filter((word) => word !== "");
}

function withoutComments(text: string): string {
  let plain = "";
  let depth = 0;
  for (const char of text) {
    if (char === "(") depth++;
    else if (char === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0) plain += char;
  }
  return plain;
}

function isMonth(word: string): boolean {
  return monthNames.includes(word.slice(0, 3).toLowerCase());
}

function clockSeconds(word: string): number | undefined {
  const match = /^(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2})(?:\.\d*)?)?$/.exec(word);
  if (match === null) return undefined;
  const hour = Number(match[1]);
  const minute = Number(match[2]);
  const second = Number(match[3] ?? 0);
  if (hour > 23 || minute > 59 || second > 60) return undefined;
  return hour * 3600 + minute * 60 + second;
}

// RFC 5322 §4.3: 00–49 are 2000–2049, other two- and all three-digit years count from 1900.
function fullYear(word: string): number | undefined {
  if (!/^\d{2,4}$/.test(word)) return undefined;
  const value = Number(word);
  if (word.length === 4) return value;
  return value < 50 && word.length === 2 ? 2000 + value : 1900 + value;
}

function numericZone(word: string): number {
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(word);
  if (match === null || Number(match[3]) > 59) return 0;
  const minutes = Number(match[2]) * 60 + Number(match[3]);
  return match[1] === "-" ? -minutes : minutes;
}

function zoned(
  year: number,
  month: number,
  day: number,
  seconds: number,
  zoneMinutes: number,
): ZonedTime | undefined {
  if (day < 1 || day > daysIn(year, month) || year < 1900) return undefined;
  const ms = Date.UTC(year, month, day) + (seconds - zoneMinutes * 60) * 1000;
  return { ms, zoneMinutes: zoneMinutes === 0 ? 0 : zoneMinutes };
}

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function daysIn(year: number, month: number): number {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 1 && leap ? 29 : (monthDays[month] ?? 0);
}

/**
 * IMAP date-time without its quotes, 26 characters: `17-Jul-1996 02:44:25 -0700`. RFC 9051 §9
 * Years outside 0..9999 are clamped.
 */
export function formatDateTime(ms: number, zoneMinutes = 0): string {
  const local = new Date(clampMs(ms) + zoneMinutes * 60_000);
  const zone = Math.abs(zoneMinutes);
  return (
    `${String(local.getUTCDate()).padStart(2, " ")}-${monthLabels[local.getUTCMonth()] ?? ""}-` +
    `${String(local.getUTCFullYear()).padStart(4, "0")} ` +
    `${two(local.getUTCHours())}:${two(local.getUTCMinutes())}:${two(local.getUTCSeconds())} ` +
    `${zoneMinutes < 0 ? "-" : "+"}${two(Math.floor(zone / 60))}${two(zone % 60)}`
  );
}

const firstMs = Date.UTC(1, 0, 1);
const lastMs = Date.UTC(9998, 11, 31);

function clampMs(ms: number): number {
  return Math.min(lastMs, Math.max(firstMs, Number.isFinite(ms) ? ms : 0));
}

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

/** Reads IMAP date-time without its quotes; undefined when it is none. RFC 9051 §9 (date-time) */
export function parseDateTime(text: string): ZonedTime | undefined {
  const match = /^([ \d]?\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/.exec(
    text,
  );
  if (match === null) return undefined;
  const month = monthNames.indexOf((match[2] ?? "").toLowerCase());
  const seconds = clockSeconds(`${match[4]}:${match[5]}:${match[6]}`);
  const zone = Number(match[8]) * 60 + Number(match[9]);
  if (month < 0 || seconds === undefined || Number(match[9]) > 59 || zone > 24 * 60)
    return undefined;
  return zoned(Number(match[3]), month, Number(match[1]), seconds, match[7] === "-" ? -zone : zone);
}

/** Reads IMAP date-text without quotes, `1-Feb-1994`; undefined when it is none. RFC 9051 §9 (date-text) */
export function parseDateText(text: string): Day | undefined {
  const match = /^ ?(\d{1,2})-([A-Za-z]{3})-(\d{4})$/.exec(text);
  const month = match === null ? -1 : monthNames.indexOf((match[2] ?? "").toLowerCase());
  if (match === null || month < 0) return undefined;
  const year = Number(match[3]);
  const day = Number(match[1]);
  // Old dates are legal in a search, so only the calendar counts here.
  if (day < 1 || day > daysIn(year, month)) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  return Math.floor(date.getTime() / dayMs);
}

/** The calendar day of a moment in the zone it was written in. RFC 9051 §6.4.4 */
export function dayOf(ms: number, zoneMinutes = 0): Day {
  return Math.floor((ms + zoneMinutes * 60_000) / dayMs);
}

/** `Wed, 17 Jul 1996 02:44:25 -0700`, for headers that we write. RFC 5322 §3.3 */
export function formatMessageDate(ms: number, zoneMinutes = 0): string {
  const weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const name = weekday[new Date(clampMs(ms) + zoneMinutes * 60_000).getUTCDay()] ?? "";
  const [date = "", time = "", zone = ""] = formatDateTime(ms, zoneMinutes).trim().split(" ");
  return `${name}, ${date.replaceAll("-", " ")} ${time} ${zone}`;
}
