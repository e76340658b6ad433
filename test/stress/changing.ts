// STORE, COPY, MOVE, APPEND, EXPUNGE, as random clients use them, and how the answers are judged. What was
// answered OK has happened; what was not may have, once.

import type { StressClient } from "./client.ts";
import { messageOf } from "./messages.ts";
import { named, someUids } from "./reading.ts";
import { deletedNow, expungedUpTo } from "./selecting.ts";
import type { Outcome, StressSession } from "./session.ts";
import { changedFlags, effects, type FlagMode, flagsInUse, hasFlag } from "./truth.ts";
import { type MailboxView, numbersOf } from "./view.ts";

/** Changes whose connection is cut before the answer. */
const cutShare = 0.01;

/** Runs a command that changes something. @returns undefined when nobody knows what became of it. */
async function change(
  client: StressClient,
  session: StressSession,
  kind: string,
  ...parts: readonly (string | Buffer)[]
): Promise<Outcome | undefined> {
  if (client.chance(cutShare)) {
    await session.cut(client.below(30), ...parts);
    client.drop();
    return undefined;
  }
  const outcome = await session.run(kind, ...parts);
  return outcome.status === "OK" ? outcome : undefined;
}

/** A resolved view that may be changed. */
async function writable(
  client: StressClient,
  session: StressSession,
): Promise<MailboxView | undefined> {
  const { view } = session;
  if (view === undefined || view.readOnly || !(await client.resolve(session, view)))
    return undefined;
  return view.count === 0 ? undefined : view;
}

/** What a STORE asks for. */
interface Storing {
  readonly byUid: boolean;
  readonly uids: readonly number[];
  readonly mode: FlagMode;
  readonly flags: readonly string[];
  readonly silent: boolean;
  /** Negative: no UNCHANGEDSINCE. */
  readonly since: number;
}

export async function store(client: StressClient, session: StressSession): Promise<void> {
  const view = await writable(client, session);
  if (view === undefined) return;
  const mode = client.oneOf(["add", "add", "remove", "replace"] as const);
  const unchanged = session.can.condstore && client.chance(0.3);
  await storeAs(client, session, view, {
    byUid: client.chance(0.5),
    uids: someUids(client, view, 8),
    mode,
    flags: flagsFor(client, mode),
    silent: client.chance(0.3),
    since: unchanged ? Math.max(0, view.truth.modSeq - client.below(40)) : -1,
  });
}

/** Marks many messages for removal, where a mailbox has grown large. */
export async function prune(client: StressClient, session: StressSession): Promise<void> {
  const view = await writable(client, session);
  if (view === undefined) return;
  await storeAs(client, session, view, {
    byUid: client.chance(0.5),
    uids: someUids(client, view, 40),
    mode: "add",
    flags: ["\\Deleted"],
    silent: client.chance(0.5),
    since: -1,
  });
  if (!session.broken && !session.isClosed) await expunge(client, session);
}

async function storeAs(
  client: StressClient,
  session: StressSession,
  view: MailboxView,
  storing: Storing,
): Promise<void> {
  const { byUid, uids, mode, flags, silent, since } = storing;
  const { gives, takes } = effects(mode, flags);
  const kind = byUid ? "UID STORE" : "STORE";
  const modifier = since < 0 ? "" : `(UNCHANGEDSINCE ${since}) `;
  const sign = { add: "+", remove: "-", replace: "" }[mode];
  const item = `${sign}FLAGS${silent ? ".SILENT" : ""} (${flags.join(" ")})`;
  const began = new Map(uids.map((uid) => [uid, view.truth.changing(uid, gives, takes)]));
  const line = `${kind} ${named(view, uids, byUid)} ${modifier}${item}`;
  const order = view.uids;
  const outcome = await change(client, session, kind, line);
  if (outcome === undefined) return;
  const modified = new Set(
    numbersOf(outcome.doing.codes.get("MODIFIED") ?? "0").map((n) =>
      byUid ? n : (order[n - 1] ?? 0),
    ),
  );
  for (const uid of uids) {
    view.truth.settle(uid, gives, takes);
    if (!modified.has(uid)) judgeStored(session, view, uid, began.get(uid) ?? 0, storing, outcome);
    else if (since < 0) session.violate(`MODIFIED ${uid} without UNCHANGEDSINCE`);
    else if (!outcome.doing.told.has(uid)) view.modified.set(uid, since);
  }
}

function judgeStored(
  session: StressSession,
  view: MailboxView,
  uid: number,
  began: number,
  { mode, flags, silent, since }: Storing,
  { doing }: Outcome,
): void {
  const { truth } = view;
  const { gives, takes } = effects(mode, flags);
  const message = truth.message(uid);
  const isTold = doing.told.has(uid);
  if (since >= 0 && isTold && truth.floor(message, doing.start) > since)
    session.violate(`UID ${uid} was stored UNCHANGEDSINCE ${since} in spite of its MODSEQ`);
  if (!isTold && (!silent || session.can.condstore)) message.passedOver = doing.kind;
  if (silent) silently(view, uid, mode, flags, doing.firstTold.has(uid));
  const told = doing.firstTold.get(uid);
  const undisputed = (names: readonly string[], present: boolean): readonly string[] =>
    names.filter((flag) => truth.undisputed(message, flag, present, began));
  // A message that the change left as it was is told as it is now: others may have changed it since.
  if (
    !silent &&
    told !== undefined &&
    !shows(told, undisputed(gives, true), undisputed(takes, false))
  )
    session.violate(`UID ${uid} has (${told}) behind ${mode} ${flags.join(" ")}`);
  // Without an answer of its own, the message may have been gone.
  if (isTold) truth.acknowledged(uid, gives, takes, began);
}

function flagsFor(client: StressClient, mode: FlagMode): readonly string[] {
  const chosen = flagsInUse.filter((flag) => client.chance(flag === "\\Deleted" ? 0.12 : 0.35));
  return chosen.length > 0 || mode === "replace" ? chosen : ["\\Seen"];
}

/** RFC 9051 §6.4.6 .SILENT: the client makes the change itself, unless it was told of another one. */
function silently(
  view: MailboxView,
  uid: number,
  mode: FlagMode,
  flags: readonly string[],
  isTold: boolean,
): void {
  const slot = view.slotOf(uid);
  if (slot?.flags !== undefined && !isTold) slot.flags = changedFlags(slot.flags, mode, flags);
}

function shows(flags: string, gives: readonly string[], takes: readonly string[]): boolean {
  return gives.every((flag) => hasFlag(flags, flag)) && !takes.some((flag) => hasFlag(flags, flag));
}

export async function copyOrMove(client: StressClient, session: StressSession): Promise<void> {
  const moves = client.chance(0.45);
  const view = await writable(client, session);
  if (view === undefined) return;
  const byUid = client.chance(0.5);
  const uids = someUids(client, view, 5);
  const target = client.truth(client.anyMailbox());
  if (moves && target === view.truth) return;
  const verb = moves ? "MOVE" : "COPY";
  const kind = byUid ? `UID ${verb}` : verb;
  const { uidNext } = target;
  if (moves) for (const uid of uids) view.truth.message(uid).moving = true;
  const line = `${kind} ${named(view, uids, byUid)} ${target.name}`;
  const outcome = await change(client, session, kind, line);
  if (outcome === undefined) {
    for (const uid of uids) {
      target.mayHave(view.truth.message(uid).id);
      if (moves) view.truth.perhapsMoved.push({ uid, target });
    }
    return;
  }
  const [, from = "", to = ""] = outcome.doing.codes.get("COPYUID")?.split(" ") ?? [];
  const sources = from === "" ? [] : numbersOf(from);
  const copies = to === "" ? [] : numbersOf(to);
  if (sources.length !== copies.length) session.violate(`COPYUID ${from} ${to}`);
  for (const uid of uids) {
    if (!sources.includes(uid)) view.truth.message(uid).passedOver = kind;
  }
  sources.forEach((source, at) => {
    if (!uids.includes(source)) session.violate(`${kind} took UID ${source}, too`);
    const original = view.truth.message(source);
    const copy = target.born(copies[at] ?? 0, original.id, uidNext);
    // Its flags may have come with \Deleted.
    copy.deletable ||= original.deletable || !original.explained;
    if (!moves) return;
    if (original.moved) session.violate(`UID ${source} was moved twice`);
    original.moved = true;
    view.truth.gone(source);
    if (view.slotOf(source) !== undefined) session.violate(`UID ${source} was moved, but is shown`);
  });
  noteHighest(session, view, outcome);
}

export async function append(client: StressClient, session: StressSession): Promise<void> {
  const target = client.truth(client.anyMailbox());
  const { uidNext } = target;
  const ids = client.chance(0.2) ? [client.newId(), client.newId()] : [client.newId()];
  const flags = flagsInUse.filter((flag) => client.chance(flag === "\\Deleted" ? 0.05 : 0.25));
  const began = client.world.ticks.next();
  const parts = ids.flatMap((id) => [` (${flags.join(" ")}) `, messageOf(id)]);
  const outcome = await change(client, session, "APPEND", `APPEND ${target.name}`, ...parts);
  if (outcome === undefined) {
    for (const id of ids) target.mayHave(id);
    return;
  }
  const [validity, set = "0"] = outcome.doing.codes.get("APPENDUID")?.split(" ") ?? [];
  target.learnUidValidity(Number(validity));
  const uids = numbersOf(set);
  if (uids.length !== ids.length) session.violate(`APPENDUID ${set} for ${ids.length} messages`);
  uids.forEach((uid, at) => {
    const message = target.born(uid, ids[at], uidNext);
    message.deletable ||= flags.includes("\\Deleted");
    const absent = flagsInUse.filter((flag) => !flags.includes(flag));
    target.acknowledged(uid, flags, absent, began);
  });
}

export async function expunge(client: StressClient, session: StressSession): Promise<void> {
  const view = await writable(client, session);
  if (view === undefined) return;
  const part = client.chance(0.5) ? someUids(client, view, 60) : undefined;
  const dying = deletedNow(view).filter(({ uid }) => part === undefined || part.includes(uid));
  const kind = part === undefined ? "EXPUNGE" : "UID EXPUNGE";
  const line = part === undefined ? kind : `${kind} ${named(view, part, true)}`;
  const outcome = await change(client, session, kind, line);
  if (outcome === undefined) return;
  for (const { uid, modSeq } of dying) expungedUpTo(view, uid, modSeq);
  noteHighest(session, view, outcome);
}

/** RFC 7162 §3.2.9: the session knows everything up to there. */
function noteHighest({ can }: StressSession, view: MailboxView, { text }: Outcome): void {
  const highest = /^\[HIGHESTMODSEQ (\d+)\]/.exec(text)?.[1];
  if (can.qresync && highest !== undefined) view.keptModSeq = Number(highest);
}
