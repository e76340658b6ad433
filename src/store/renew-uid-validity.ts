// New UIDVALIDITYs for every mailbox of a shard: its copy may lack changes that clients have seen, so
// that UIDs may be given a second time. RFC 9051 §2.3.1.1. When it is needed is the cluster's to say.

import { MailError, isMailError } from "../mail/errors.ts";
import type { ShardId } from "../mail/ids.ts";
import { accountsOf } from "./check.ts";
import type { Engine } from "./engine.ts";
import type { Op } from "./entry-kind.ts";
import { changeExclusively } from "./propose.ts";

/**
 * The lost copy may have given numbers ahead of its clock, one for each mailbox made within a second:
 * the new ones begin above all that can be.
 */
const aheadSeconds = 86_400;

/**
 * One entry an account; what was done before a failure may be done again. @returns how many mailboxes
 * were renewed. @throws {MailError} WRONG_NODE, REPLICA_UNREACHABLE, and others: try again later.
 */
export async function renewUidValidities(
  engine: Engine,
  shard: ShardId,
  signal: AbortSignal,
): Promise<number> {
  let renewed = 0;
  for await (const account of accountsOf(engine, shard)) {
    signal.throwIfAborted();
    try {
      await changeExclusively(
        engine,
        { account, shard },
        { opId: engine.nextOpId(), retry: false },
        "none",
        async (state) => {
          let last = Math.max(
            Math.floor(engine.clock.nowMs() / 1000) + aheadSeconds,
            state.lastUidValidity,
          );
          const ops: Op[] = [];
          for (const { id, name, specialUse } of state.mailboxes.values()) {
            last += 1;
            ops.push({ kind: "mailbox", row: { id, name, uidValidity: last, specialUse } });
          }
          renewed += ops.length;
          const { nextMailboxId } = state;
          if (ops.length > 0) ops.push({ kind: "account", nextMailboxId, lastUidValidity: last });
          return { ops, outcome: { kind: "none" } };
        },
        signal,
      );
    } catch (error) {
      // Its tombstone has no mailboxes.
      if (!isMailError(error, "NO_SUCH_ACCOUNT")) throw error;
    }
  }
  if (!engine.journal.serves(shard)) throw new MailError({ code: "WRONG_NODE", shard });
  return renewed;
}
