// SORT criteria and the order that they make of messages. Where the values come from is the store's
// business. RFC 5256 §3 (SORT), RFC 5957 (DISPLAYFROM, DISPLAYTO)

import type { Steps } from "./steps.ts";
import { sortSteps } from "./steps.ts";

export type SortKey =
  | "arrival"
  | "cc"
  | "date"
  | "from"
  | "size"
  | "subject"
  | "to"
  | "displayFrom"
  | "displayTo";

export interface SortCriterion {
  readonly key: SortKey;
  readonly reverse: boolean;
}

/** The messages' values for one criterion, in mailbox order: numbers, or keys of a collation. */
export interface SortColumn {
  readonly values: ArrayLike<number> | readonly string[];
  readonly reverse: boolean;
}

/**
 * Indices of the messages in the order asked for. Equal messages keep the order of the mailbox, also
 * under REVERSE (RFC 5256 §3: it does not affect the implicit criterion "sequence number").
 */
export function sortedOrder(count: number, columns: readonly SortColumn[]): Steps<Uint32Array> {
  const order = new Uint32Array(count);
  for (let at = 0; at < count; at++) order[at] = at;
  return sortSteps(order, (a, b) => {
    for (const { values, reverse } of columns) {
      const left = values[a] ?? 0;
      const right = values[b] ?? 0;
      if (left === right) continue;
      return left < right !== reverse ? -1 : 1;
    }
    return a - b;
  });
}
