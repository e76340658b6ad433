// How a run breaks a rule in what a replica machine remembers, hears and says, without a switch in it.

import { livesPerTerm } from "../../../src/cluster/protocol/ring-types.ts";
import { lsn as makeLsn } from "../../../src/mail/ids.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type { ReplicaMessage } from "../../../src/cluster/protocol/replica-types.ts";
import { entryAt, hashOf } from "./disk.ts";
import type { Run } from "./disk.ts";
import type { Op } from "./requests.ts";
import type { Rule } from "./rules.ts";

/** Done after each step. */
export function bendState(state: ReplicaState, broken: Rule | undefined): void {
  switch (broken) {
    case "grace":
      state.waitUntilMs = -Infinity;
      return;
    case "waitAfterRestart":
      state.restartUntilMs = -Infinity;
      return;
    case "barrier":
      state.barrierLsn = makeLsn(0);
      return;
    case "askFreezes":
      state.asking = undefined;
      return;
    case "handOverIsFinal":
      state.handingSinceMs = undefined;
      if (state.role === "primary" && state.sealedEpoch === state.config?.epoch) {
        state.sealedEpoch -= 1;
      }
      return;
    default:
      return;
  }
}

/** A diverged tail is not cut: what lies in `main` counts as what was sent. */
export function overlook(main: Run, message: ReplicaMessage<Op>): ReplicaMessage<Op> {
  if (message.kind !== "append" || message.tail) return message;
  const prevHash = hashOf(main, message.prevLsn) ?? message.prevHash;
  const entries = message.entries.map((entry) => {
    const mine = entryAt(main, entry.lsn);
    const before = hashOf(main, entry.lsn - 1) ?? entry.prevHash;
    return { ...entry, prevHash: before, hash: mine?.hash ?? entry.hash };
  });
  return { ...message, prevHash, entries };
}

/** The lie that goes with it: the acknowledgement names the primary's content, as in `theirs`. */
export function pretend(theirs: Run | undefined, message: ReplicaMessage<Op>): ReplicaMessage<Op> {
  if (message.kind !== "ack" || message.tail) return message;
  const hash = theirs === undefined ? undefined : hashOf(theirs, message.lsn);
  return { ...message, hash: hash ?? message.hash };
}

/** A gateway's incarnation, as its ring knows it; with the rule broken all that its terms tell is alike. */
export function bootOf(broken: Rule | undefined, incarnation: number): number {
  return broken === "ringOfLife" ? incarnation * livesPerTerm : incarnation;
}
