// Patterns of LIST and LSUB: `*` matches anything, `%` anything within one level. Time is bounded by
// the name's length times the number of wildcards. RFC 9051 §6.3.9

import { hierarchyDelimiter } from "../../mail/mailbox-name.ts";

/** True when `name` matches. INBOX matches in any case (RFC 9051 §5.1). */
export function matchesPattern(name: string, pattern: string): boolean {
  if (glob(name, pattern)) return true;
  const [first = "", ...rest] = name.split(hierarchyDelimiter);
  if (first !== "INBOX") return false;
  const [firstPattern = "", ...restPattern] = pattern.split(hierarchyDelimiter);
  const upper = [firstPattern.toUpperCase(), ...restPattern].join(hierarchyDelimiter);
  return upper !== pattern && glob([first, ...rest].join(hierarchyDelimiter), upper);
}

/** More wildcards than this make no pattern that a client would send. */
export const wildcardsMax = 32;

/** How many wildcards a pattern has. */
export function countWildcards(pattern: string): number {
  return pattern.replace(/[^*%]+/g, "").length;
}

/**
 * Follows all ways of matching at once. `places` are the indices i for which pattern[0..i) matches
 * the name so far: at most one more than there are wildcards.
 */
function glob(name: string, pattern: string): boolean {
  let places: number[] = [];
  enter(places, pattern, 0);
  for (let at = 0; at < name.length && places.length > 0; at++) {
    const char = name[at];
    const next: number[] = [];
    for (const place of places) {
      const symbol = pattern[place];
      if (symbol === "*" || (symbol === "%" && char !== hierarchyDelimiter)) {
        enter(next, pattern, place);
      } else if (symbol === char && symbol !== "%") {
        enter(next, pattern, place + 1);
      }
    }
    places = next;
  }
  return places.includes(pattern.length);
}

/** Adds a place, and those behind it that wildcards matching nothing lead to. */
function enter(places: number[], pattern: string, from: number): void {
  for (let place = from; !places.includes(place); place++) {
    places.push(place);
    const symbol = pattern[place];
    if (symbol !== "*" && symbol !== "%") return;
  }
}
