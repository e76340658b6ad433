// Listening to an account. Registered at once, so that nothing is missed between the call and the
// first read; what happened before is asked for with `changes`.

import { MailError } from "../mail/errors.ts";
import type { MailboxEvent, MailStore, Principal } from "../mail/mail-store.ts";
import type { AccountState } from "./account-state.ts";
import type { Engine } from "./engine.ts";
import { Watcher, Watchers } from "./watchers.ts";

type WatchRequest = Parameters<MailStore["watch"]>[1];

/** @see MailStore.watch */
export function watchAccount(
  engine: Engine,
  who: Principal,
  request: WatchRequest,
  signal: AbortSignal,
): AsyncIterable<MailboxEvent> {
  const { mailboxes } = request;
  if (mailboxes !== "all" && mailboxes.length > engine.limits.watchedMailboxesMax) {
    throw new MailError({
      code: "LIMIT",
      limit: "watchedMailboxesMax",
      most: engine.limits.watchedMailboxesMax,
    });
  }
  return new Watch(engine, who, request, signal);
}

/** Finds the account, in RAM at once where it is there, and hands on its watcher's events. */
class Watch implements AsyncIterableIterator<MailboxEvent> {
  readonly #watcher: Promise<Watcher>;

  constructor(
    engine: Engine,
    who: Principal,
    { mailboxes, listening }: WatchRequest,
    signal: AbortSignal,
  ) {
    const make = (account: AccountState): Watcher => {
      const watcher = new Watcher(mailboxes, signal, () => leave(account, watcher));
      if (!signal.aborted) {
        account.watchers ??= new Watchers();
        account.watchers.add(watcher);
        listening?.();
      }
      return watcher;
    };
    this.#watcher = start(engine, who, make);
    // The first `next` reports it.
    this.#watcher.catch(() => undefined);
  }

  async next(): Promise<IteratorResult<MailboxEvent>> {
    return (await this.#watcher).next();
  }

  async return(): Promise<IteratorResult<MailboxEvent>> {
    return (await this.#watcher).return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

async function start(
  engine: Engine,
  who: Principal,
  make: (account: AccountState) => Watcher,
): Promise<Watcher> {
  const loaded = engine.accounts.peek(who.account);
  // Without waiting when the account is in RAM: an event right after the call is not missed.
  if (loaded !== undefined) return make(engine.check(loaded, who));
  return engine.withAccount(who, async (account) => make(account));
}

function leave(account: AccountState, watcher: Watcher): void {
  account.watchers?.remove(watcher);
  if (account.watchers?.size === 0) account.watchers = undefined;
}
