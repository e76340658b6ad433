// The sort program `(REVERSE DATE SUBJECT)` and the names of thread algorithms. RFC 5256 §5,
// RFC 5957 §5

import type { SortCriterion, SortKey } from "../../../mail/sort-order.ts";
import type { ThreadAlgorithm } from "../../../mail/thread-tree.ts";
import type { Cursor } from "./cursor.ts";

const sortKeys: ReadonlyMap<string, SortKey> = new Map([
  ["ARRIVAL", "arrival"],
  ["CC", "cc"],
  ["DATE", "date"],
  ["FROM", "from"],
  ["SIZE", "size"],
  ["SUBJECT", "subject"],
  ["TO", "to"],
  ["DISPLAYFROM", "displayFrom"],
  ["DISPLAYTO", "displayTo"],
]);
const algorithms: ReadonlyMap<string, ThreadAlgorithm> = new Map([
  ["ORDEREDSUBJECT", "orderedSubject"],
  ["REFERENCES", "references"],
]);

/** Criteria beyond the first of each key say nothing, so a list is as long as there are keys at most. */
export function parseSortCriteria(cursor: Cursor): readonly SortCriterion[] {
  const criteria: SortCriterion[] = [];
  const count = cursor.list(() => {
    let word = cursor.word();
    const reverse = word === "REVERSE";
    if (reverse) {
      cursor.space();
      word = cursor.word();
    }
    const key = sortKeys.get(word);
    if (key === undefined) return cursor.fail("unknown sort key");
    if (!criteria.some((known) => known.key === key)) criteria.push({ key, reverse });
  });
  if (count === 0) cursor.fail("no sort keys");
  return criteria;
}

export function parseThreadAlgorithm(cursor: Cursor): ThreadAlgorithm {
  const algorithm = algorithms.get(cursor.word());
  if (algorithm === undefined) cursor.fail("unknown thread algorithm");
  return algorithm ?? "orderedSubject";
}
