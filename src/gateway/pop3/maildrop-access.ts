// What a POP3 session asks of the mail store and the authenticator: log in and take the maildrop,
// read a message, delete at the end. Leaves protocol text and sockets to others.

import type { AuthVerdict } from "../../cluster/directory/directory.ts";
import { assert } from "../../lib/assert.ts";
import type { Clock } from "../../lib/clock.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import type { MailFailure } from "../../mail/errors.ts";
import { partsOf } from "../../mail/fetch-parts.ts";
import type { MailboxId, OpId, Uid } from "../../mail/ids.ts";
import type { MaildropState, Principal } from "../../mail/mail-store.ts";
import { allUids } from "../../mail/uid-set.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { GatewayServices } from "../services.ts";
import type { GroupContents, GroupOutcome, MaildropContents } from "./maildrop.ts";

/** The maildrop is held until `release` runs, it is lost, or the signal given at the login aborts. */
export interface HeldMaildrop {
  readonly who: Principal;
  readonly contents: MaildropContents;
  /** The name under which the nodes know who holds it. */
  readonly holder: OpId;
  /** Resolves while it is held; waits while it is taken again behind a failure of the node. @throws MailError why it is lost */
  confirm(): Promise<void>;
  release(): void;
}

export interface LoginRequest {
  readonly verdict: AuthVerdict;
  readonly lockWaitMs: number;
  /** Called once when the maildrop is no longer this session's: another may have it. */
  readonly onLost: (failure: MailFailure) => void;
}

const lockRetryMs = 50;

/**
 * Takes the maildrop of who logs in. Undefined: wrong name or password.
 * @throws MailError ACCOUNT_DISABLED, IN_USE (after `lockWaitMs`), UNAVAILABLE and the store's others
 */
export async function takeMaildrop(
  services: GatewayServices,
  request: LoginRequest,
  signal: AbortSignal,
): Promise<HeldMaildrop | undefined> {
  const { verdict, lockWaitMs, onLost } = request;
  const who = principalOf(verdict);
  if (who === undefined) return undefined;
  const holding = new AbortController();
  const held = AbortSignal.any([signal, holding.signal]);
  const holder = services.nextOpId();
  const hold = new Hold(onLost, held);
  try {
    await lock(services, { who, holder, waitMs: lockWaitMs }, held, hold);
    const contents = await readContents(services, who, held);
    hold.checkAgain = () => checkContents(services, who, contents, held);
    return {
      who,
      contents,
      holder,
      confirm: () => hold.confirm(signal),
      release: () => holding.abort(),
    };
  } catch (error) {
    holding.abort();
    throw error;
  }
}

/** Follows what becomes of a maildrop that was got. */
class Hold {
  #state: MaildropState = { kind: "held" };
  readonly #onLost: (failure: MailFailure) => void;
  readonly #waiting: (() => void)[] = [];
  /** Whether what is held again is still what was read. @throws MailError when it is not */
  checkAgain: () => Promise<void> = () => Promise.resolve();

  readonly #signal: AbortSignal;

  constructor(onLost: (failure: MailFailure) => void, signal: AbortSignal) {
    this.#onLost = onLost;
    this.#signal = signal;
  }

  readonly change = (state: MaildropState): void => {
    if (state.kind !== "held") return this.#set(state);
    const broken = this.#state;
    this.checkAgain().then(
      () => {
        if (this.#state === broken) this.#set(state);
      },
      (error: unknown) => {
        if (this.#signal.aborted) return;
        if (!isMailError(error)) throw error; // Our bug: ends the process.
        if (this.#state === broken) this.#set({ kind: "lost", failure: error.failure });
      },
    );
  };

  #set(state: MaildropState): void {
    if (this.#state.kind === "lost") return;
    this.#state = state;
    for (const wake of this.#waiting.splice(0)) wake();
    if (state.kind === "lost") this.#onLost(state.failure);
  }

  async confirm(signal: AbortSignal): Promise<void> {
    while (this.#state.kind === "broken") {
      await new Promise<void>((resolve) => {
        // Waited for again and again: no listener stays behind.
        const done = (): void => {
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#waiting.push(done);
        if (signal.aborted) done();
        else signal.addEventListener("abort", done, { once: true });
      });
      signal.throwIfAborted();
    }
    if (this.#state.kind === "lost") throw new MailError(this.#state.failure);
  }
}

/** A message being read; `close` must run, whether or not all pieces were taken. */
export interface OpenMessage {
  readonly pieces: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Opens the stored bytes of a message. Its first piece has come when this resolves, so that a message
 * that is gone or can't be read is known before a reply begins. @throws MailError INVALID, DAMAGED, …
 */
export async function openMessage(
  services: GatewayServices,
  held: HeldMaildrop,
  which: { readonly mailbox: MailboxId; readonly uid: Uid },
  signal: AbortSignal,
): Promise<OpenMessage> {
  const request = { offset: 0, ...which };
  const source = services.store.readMessage(held.who, request, signal)[Symbol.asyncIterator]();
  const first = await source.next();
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let next = first; next.done !== true; next = await source.next()) yield next.value;
  }
  return {
    pieces: pieces(),
    close: async () => {
      await source.return?.();
    },
  };
}

/**
 * The UPDATE state: deletes in one entry, then marks what was retrieved and kept as seen, as users of
 * other servers expect. A failure to mark is logged and not told: nothing was promised.
 * @throws MailError when the deletion failed or its outcome is unknown
 */
export async function updateMaildrop(
  services: GatewayServices,
  held: HeldMaildrop,
  {
    deleted,
    seen,
    groups,
  }: {
    readonly deleted: UidSet;
    readonly seen: UidSet;
    readonly groups: readonly GroupOutcome[];
  },
  signal: AbortSignal,
): Promise<void> {
  const { who, contents, holder } = held;
  await held.confirm(); // Whoever has it now must not see messages go that are not theirs to delete.
  for (const one of groups) await hideInGroup(services, who, one, signal);
  const change = () => ({ opId: services.nextOpId(), retry: false, mailbox: contents.mailbox });
  if (deleted.length > 0) {
    // RFC 1939 §6. By UID and by force: \Deleted flags of IMAP sessions are not our business.
    const expunge = { uids: deleted, force: true, maildrop: holder, ...change() };
    await services.store.expunge(who, expunge, signal);
  }
  if (seen.length === 0) return;
  const flags = { uids: seen, mode: "add" as const, flags: ["\\Seen"] };
  try {
    await services.store.store(who, { ...flags, ...change() }, signal);
  } catch (error) {
    if (!isMailError(error)) throw error;
    services.log.warn({ account: who.account, err: error }, "pop3: messages not marked seen");
  }
}

/** Hidden for this user alone; what was retrieved and kept is seen. */
async function hideInGroup(
  { store, nextOpId }: GatewayServices,
  who: Principal,
  { mailbox, deleted, seen }: GroupOutcome,
  signal: AbortSignal,
): Promise<void> {
  const change = () => ({ opId: nextOpId(), retry: false, mailbox });
  if (deleted.length > 0) {
    await store.expunge(who, { uids: deleted, force: true, ...change() }, signal);
  }
  if (seen.length > 0) {
    const flags = { uids: seen, mode: "add" as const, flags: ["\\Seen"] };
    await store.store(who, { ...flags, ...change() }, signal);
  }
}

function principalOf(verdict: AuthVerdict): Principal | undefined {
  switch (verdict.kind) {
    case "ok": {
      const { account, shard, credVersion } = verdict.row;
      return { account, shard, credVersion };
    }
    case "refused":
      return undefined;
    case "disabled":
      throw new MailError({ code: "ACCOUNT_DISABLED" });
    case "unavailable":
      throw new MailError({ code: "UNAVAILABLE", why: verdict.why });
  }
}

/** Tries again for a while: clients reconnect faster than the lock of a lost connection goes. */
async function lock(
  { store, clock }: GatewayServices,
  request: { readonly who: Principal; readonly holder: OpId; readonly waitMs: number },
  signal: AbortSignal,
  hold: Hold,
): Promise<void> {
  const { who, holder, waitMs } = request;
  const untilMs = clock.monotonicMs() + waitMs;
  for (;;) {
    try {
      return await store.lockMaildrop(who, signal, hold.change, holder);
    } catch (error) {
      if (!isMailError(error, "IN_USE") || clock.monotonicMs() + lockRetryMs > untilMs) throw error;
    }
    await pause(clock, lockRetryMs, signal);
  }
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      timer.cancel();
      reject(new MailError({ code: "UNAVAILABLE", why: "cancelled" }));
    };
    const timer = clock.after(delayMs, () => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}

async function readContents(
  services: GatewayServices,
  who: Principal,
  signal: AbortSignal,
): Promise<MaildropContents> {
  const [inbox, views = []] = await Promise.all([
    readMailbox(services, who, "INBOX", signal),
    services.groups?.mailboxes(who, signal),
  ]);
  const groups: GroupContents[] = [];
  for (const { name, group, messages } of views) {
    if (group === undefined || messages === 0) continue;
    groups.push({ group, ...(await readMailbox(services, who, name, signal)) });
  }
  return groups.length === 0 ? inbox : { groups, ...inbox };
}

async function readMailbox(
  { store }: GatewayServices,
  who: Principal,
  name: string,
  signal: AbortSignal,
): Promise<Omit<MaildropContents, "groups">> {
  // POP3 has no \Recent, so it leaves that to IMAP sessions.
  const open = await store.openMailbox(who, { name, claimRecent: false }, signal);
  const request = { mailbox: open.info.id, uids: allUids, items: { size: true } };
  const sizeOf = new Map<number, number>();
  if (open.uids.length > 0) {
    for await (const chunk of store.fetch(who, request, signal)) {
      for (const { uid, bytes } of partsOf(chunk)) sizeOf.set(uid, sizeIn(bytes));
    }
  }
  const uids = open.uids.filter((uid) => sizeOf.has(uid)); // The others went meanwhile.
  const sizes = Float64Array.from(uids, (uid) => sizeOf.get(uid) ?? 0);
  return { mailbox: open.info.id, uidValidity: open.info.uidValidity, uids, sizes };
}

/** UIDLs are told once: behind a failure of the node they must still name the same messages. */
async function checkContents(
  { store }: GatewayServices,
  who: Principal,
  { mailbox, uidValidity }: MaildropContents,
  signal: AbortSignal,
): Promise<void> {
  const info = await store.mailboxStatus(who, "INBOX", signal);
  if (info.id === mailbox && info.uidValidity === uidValidity) return;
  throw new MailError({ code: "MAILBOX_GONE", mailbox, why: "other UIDVALIDITY" });
}

/** The number in `UID n RFC822.SIZE s`. */
function sizeIn(rendered: Uint8Array): number {
  const text = Buffer.from(rendered).toString("latin1");
  const found = /RFC822\.SIZE (\d+)/.exec(text)?.[1];
  assert(found !== undefined, "a FETCH of RFC822.SIZE yields it");
  return Number(found);
}
