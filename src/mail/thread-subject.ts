// THREAD=ORDEREDSUBJECT: messages of one base subject are a thread, the oldest first. RFC 5256 §3

import { sortedOrder } from "./sort-order.ts";
import type { Steps } from "./steps.ts";
import { sortSteps, stepSize } from "./steps.ts";
import type { ThreadMessages, Threads } from "./thread-tree.ts";
import { bySentDate } from "./thread-tree.ts";

/** Threads of messages with the same base subject, ordered by the sent date of their first message. */
export function* threadsBySubject(messages: ThreadMessages): Steps<Threads> {
  const { uids, sentMs, subjects } = messages;
  const order = yield* sortedOrder(uids.length, [
    { values: subjects, reverse: false },
    { values: sentMs, reverse: false },
  ]);
  /** Where each thread begins in `order`, and behind them the end. */
  const starts: number[] = [];
  for (let at = 0; at < order.length; at++) {
    if (at === 0 || subjects[order[at] ?? 0] !== subjects[order[at - 1] ?? 0]) starts.push(at);
  }
  starts.push(order.length);
  yield;
  const before = bySentDate(sentMs);
  const threads = yield* sortSteps(
    Uint32Array.from({ length: starts.length - 1 }, (_, thread) => thread),
    (a, b) => before(order[starts[a] ?? 0] ?? 0, order[starts[b] ?? 0] ?? 0),
  );
  const found = { uids: new Uint32Array(order.length), depths: new Uint32Array(order.length) };
  let to = 0;
  for (const thread of threads) {
    const from = starts[thread] ?? 0;
    const end = starts[thread + 1] ?? 0;
    for (let at = from; at < end; at++, to++) {
      found.uids[to] = uids[order[at] ?? 0] ?? 0;
      found.depths[to] = at === from ? 0 : 1;
      if ((to & (stepSize - 1)) === 0) yield;
    }
  }
  return found;
}
