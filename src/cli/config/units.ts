// Durations and sizes as they stand in configuration files and on the command line: always with a
// unit, so that nobody takes seconds for milliseconds.

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** For JSON Schema: what parseDuration and parseSize take. */
export const durationPattern = patternOf(durationUnits);
export const sizePattern = patternOf(sizeUnits);

/** `500ms 10s 5m 2h 30d` to milliseconds; undefined when the text is no duration. */
export function parseDuration(text: string): number | undefined {
  return withUnit(text, durationUnits);
}

/** `512B 64KiB 50MiB 2GiB` to bytes; undefined when the text is no size. */
export function parseSize(text: string): number | undefined {
  return withUnit(text, sizeUnits);
}

/** Milliseconds as the shortest exact text, `90s` or `1500ms`. */
export function formatDuration(ms: number): string {
  return shortest(ms, durationUnits);
}

/** Bytes as the shortest exact text, `50MiB` or `1000B`. */
export function formatSize(bytes: number): string {
  return shortest(bytes, sizeUnits);
}

function patternOf(units: Readonly<Record<string, number>>): string {
  return `^\\s*\\d+(\\.\\d+)?\\s?(${Object.keys(units).join("|")})\\s*$`;
}

function withUnit(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s?([A-Za-z]+)$/.exec(text.trim());
  const scale = Object.hasOwn(units, match?.[2] ?? "") ? units[match?.[2] ?? ""] : undefined;
  if (match === null || scale === undefined) return undefined;
  const value = Math.round(Number(match[1]) * scale);
  return Number.isSafeInteger(value) ? value : undefined;
}

function shortest(value: number, units: Readonly<Record<string, number>>): string {
  const fitting = Object.entries(units).filter(([, scale]) => value % scale === 0);
  const [unit, scale] = fitting.at(-1) ?? ["", 1];
  return value === 0 ? `0${Object.keys(units)[0] ?? ""}` : `${value / scale}${unit}`;
}
