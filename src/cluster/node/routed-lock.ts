// The POP3 lock over links that may break: taken again after each break, by the name of its holder, so
// that a hold which the node has not yet seen end is no obstacle. Used by routed-mail-store.ts.

import { MailError } from "../../mail/errors.ts";
import type { OpId } from "../../mail/ids.ts";
import type { MaildropState, Principal } from "../../mail/mail-store.ts";
import type { RpcReply } from "../link/rpc.ts";
import { headOf, streamNames } from "./mail-service.ts";
import type { ShardCaller } from "./shard-caller.ts";

interface Hold {
  readonly caller: ShardCaller;
  readonly who: Principal;
  /** Absent: the node makes one up, and a broken link's hold must end before it is taken again. */
  readonly holder: OpId | undefined;
  readonly signal: AbortSignal;
}

/** Resolves once the maildrop is held; from then on it is taken again after each break. */
export async function routedLock(
  hold: Hold,
  onState: (state: MaildropState) => void = ignore,
): Promise<void> {
  const held = await take(hold);
  keep(hold, held, onState).catch((error: unknown) => {
    if (hold.signal.aborted) return;
    if (!(error instanceof MailError)) throw error; // Our bug: ends the process.
    onState({ kind: "lost", failure: error.failure });
  });
}

async function take({ caller, who, holder, signal }: Hold): Promise<AsyncIterator<RpcReply>> {
  const budget = caller.budget(who.shard);
  for (;;) {
    try {
      const { peer, epoch } = await budget.primary(signal);
      const head = headOf(epoch, who, [holder ?? null]);
      const lock = peer.stream(streamNames.lock, head, { signal })[Symbol.asyncIterator]();
      const first = await lock.next();
      if (first.done !== true) return lock;
      throw new MailError({ code: "UNAVAILABLE", why: "the maildrop was let go" });
    } catch (error) {
      await budget.again(error, signal);
    }
  }
}

/** Returns when `signal` aborts. @throws {MailError} why the maildrop is another's, or nobody's */
async function keep(
  hold: Hold,
  first: AsyncIterator<RpcReply>,
  onState: (state: MaildropState) => void,
): Promise<void> {
  const { signal } = hold;
  for (let lock = first; !signal.aborted; ) {
    try {
      await lock.next();
    } catch (error) {
      // Anything that another try would not mend ends the hold: `take` decides.
      if (!(error instanceof MailError)) throw error;
    }
    if (signal.aborted) return;
    onState({ kind: "broken" });
    lock = await take(hold);
    onState({ kind: "held" });
  }
}

function ignore(): void {
  // Nobody asked to be told.
}
