// Questions of the directory to a shard's serving primary, wherever that is: here, over a link, or
// somewhere else after a failover. Leaves what is asked to its callers.

import type { Clock } from "../../lib/clock.ts";
import { withDeadline } from "../../lib/deadline.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Links } from "../link/rpc.ts";

/** Where shards are served now, as the shard table says. */
export interface Primaries {
  primary(shard: ShardId): MemberId | undefined;
}

/** Failures after which the same question may find its answer a little later. */
export function isPassing(error: unknown): boolean {
  if (!isMailError(error)) return false;
  switch (error.code) {
    case "WRONG_NODE":
    case "UNAVAILABLE":
    case "REPLICA_UNREACHABLE":
    case "BUSY":
    case "DISK_FULL":
      return true;
    default:
      return false;
  }
}

/** One try. @throws MailError UNAVAILABLE when the shard has no known primary, and what it answers. */
export async function askPrimary(
  to: { readonly links: Links; readonly primaries: Primaries },
  shard: ShardId,
  name: string,
  head: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const node = to.primaries.primary(shard);
  if (node === undefined) {
    throw new MailError({ code: "UNAVAILABLE", why: `shard ${shard} has no primary` });
  }
  const reply = await to.links.peer(node).call(name, head, { signal });
  return reply.head;
}

/**
 * Repeats `attempt` while it fails in a passing way, with growing pauses, until `signal` aborts;
 * then the last failure is thrown.
 */
export async function untilAnswered<T>(
  clock: Clock,
  attempt: (tries: number) => Promise<T>,
  signal: AbortSignal,
  pauseMaxMs = 1000,
): Promise<T> {
  let pauseMs = 20;
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(tries);
    } catch (error) {
      if (!isPassing(error) || signal.aborted) throw error;
      await pause(clock, pauseMs, signal);
      if (signal.aborted) throw error;
      pauseMs = Math.min(2 * pauseMs, pauseMaxMs);
    }
  }
}

const orderMs = 15_000;

/**
 * One change under one operation id, repeated while its shard is moving, for `retryMs` at most.
 * @throws MailError what the primary answers; the last passing failure when time is over
 */
export function orderPrimary(
  to: {
    readonly links: Links;
    readonly primaries: Primaries;
    readonly clock: Clock;
    readonly retryMs?: number;
  },
  shard: ShardId,
  name: string,
  head: object,
  signal: AbortSignal,
): Promise<unknown> {
  const { clock, retryMs = 30_000 } = to;
  return withDeadline(clock, retryMs, [signal], (within) => {
    const oneTry = (): Promise<unknown> =>
      withDeadline(clock, orderMs, [within], (soon) => askPrimary(to, shard, name, head, soon));
    return untilAnswered(clock, oneTry, within);
  });
}

/** Resolves after `delayMs`, or at once when `signal` aborts. */
export async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal.addEventListener("abort", finish);
  });
}
