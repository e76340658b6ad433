// THREAD=ORDEREDSUBJECT: messages of one base subject are a thread, the oldest first. RFC 5256 §3

import { sortedOrder } from "./sort-order.ts";
import type { ThreadMessages, Threads } from "./thread-tree.ts";
import { bySentDate } from "./thread-tree.ts";

/** Threads of messages with the same base subject, ordered by the sent date of their first message. */
export function threadsBySubject({ uids, sentMs, subjects }: ThreadMessages): Threads {
  const order = sortedOrder(uids.length, [
    { values: subjects, reverse: false },
    { values: sentMs, reverse: false },
  ]);
  /** First message of each thread, and where the thread lies in `order`. */
  const threads: { first: number; from: number; to: number }[] = [];
  for (let from = 0; from < order.length; ) {
    const first = order[from] ?? 0;
    let to = from + 1;
    while (to < order.length && subjects[order[to] ?? 0] === subjects[first]) to++;
    threads.push({ first, from, to });
    from = to;
  }
  const before = bySentDate(sentMs);
  threads.sort((a, b) => before(a.first, b.first));
  const found = { uids: new Array<number>(), depths: new Array<number>() };
  for (const { from, to } of threads) {
    for (let at = from; at < to; at++) {
      found.uids.push(uids[order[at] ?? 0] ?? 0);
      found.depths.push(at === from ? 0 : 1);
    }
  }
  return found;
}
