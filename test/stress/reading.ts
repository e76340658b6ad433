// FETCH, SEARCH, NOOP and IDLE, as random clients use them, and how the answers are judged.

import type { StressClient } from "./client.ts";
import { messageOf } from "./messages.ts";
import { earlier } from "./selecting.ts";
import type { StressSession } from "./session.ts";
import { flagsInUse } from "./truth.ts";
import { type MailboxView, setOf } from "./view.ts";

/** Up to `most` UIDs of the view that stand side by side. */
export function someUids(client: StressClient, view: MailboxView, most: number): readonly number[] {
  if (view.count === 0) return [];
  const from = client.below(view.count);
  return view.uids.slice(from, from + 1 + client.below(most));
}

/** The messages as the command names them. */
export function named(view: MailboxView, uids: readonly number[], byUid: boolean): string {
  return setOf(byUid ? uids : uids.map((uid) => view.uids.indexOf(uid) + 1));
}

export async function fetch(client: StressClient, session: StressSession): Promise<void> {
  const { view } = session;
  if (view === undefined || !(await client.resolve(session, view)) || view.count === 0) return;
  const byUid = client.chance(0.5);
  const all = client.chance(0.25);
  const uids = all ? view.uids : someUids(client, view, 20);
  const set = all ? "1:*" : named(view, uids, byUid);
  const withBody = !all && client.chance(0.25);
  const what = ["UID", "FLAGS", session.can.condstore ? "MODSEQ" : ""];
  if (withBody) what.push("BODY.PEEK[]");
  else if (client.chance(0.3)) what.push("BODY.PEEK[HEADER.FIELDS (X-STRESS)]");
  const since =
    session.can.condstore && !withBody && client.chance(0.25) ? sinceOf(client, view) : 0;
  const vanished = since > 0 && byUid && session.can.qresync && client.chance(0.5);
  const kind = byUid ? "UID FETCH" : "FETCH";
  const modifier = since === 0 ? "" : ` (CHANGEDSINCE ${since}${vanished ? " VANISHED" : ""})`;
  const items = what.filter((item) => item !== "").join(" ");
  const outcome = await session.run(kind, `${kind} ${set} (${items})${modifier}`);
  if (outcome.status !== "OK") return;
  const { doing, untagged } = outcome;
  const { truth } = view;
  for (const uid of uids) {
    const message = truth.message(uid);
    if (doing.told.has(uid) || truth.floor(message, doing.start) <= since) continue;
    message.passedOver = kind;
  }
  for (const uid of earlier(doing.codes.get("EARLIER"))) {
    if (truth.messages.has(uid)) truth.message(uid).passedOver = "UID FETCH VANISHED";
  }
  if (!withBody) return;
  for (const { text, literals } of untagged) {
    const [body] = literals;
    const id = /^X-Stress: (\S+)/.exec(body?.toString("latin1", 0, 200) ?? "")?.[1];
    if (body !== undefined && !body.equals(messageOf(id ?? "")))
      session.violate(`a body is not what was stored: ${text.slice(0, 80)}`);
  }
}

/** A MODSEQ that some of the view's messages are above. */
function sinceOf(client: StressClient, view: MailboxView): number {
  return Math.max(1, view.truth.modSeq - client.below(60));
}

/** Every number still names its message, and every state is the newest. */
export async function verify(client: StressClient, session: StressSession): Promise<void> {
  const { view } = session;
  if (view === undefined || view.count === 0) return;
  const { uids } = view;
  const items = session.can.condstore ? "UID FLAGS MODSEQ" : "UID FLAGS";
  const { doing, status } = await session.run("FETCH", `FETCH 1:* (${items})`);
  if (status !== "OK") return;
  for (const uid of uids) {
    if (uid > 0 && !doing.told.has(uid)) view.truth.message(uid).passedOver = "FETCH 1:*";
  }
}

export async function search(client: StressClient, session: StressSession): Promise<void> {
  const { view } = session;
  if (view === undefined || !(await client.resolve(session, view)) || view.count === 0) return;
  const kind = client.chance(0.6) ? "UID SEARCH" : "SEARCH";
  const { uids: before } = view;
  const dice = client.below(session.can.condstore ? 4 : 3);
  if (dice === 0) return searchFlag(client, session, view, kind);
  const part = dice === 1 ? someUids(client, view, 30) : before;
  const since = dice === 3 ? sinceOf(client, view) : 0;
  const key = dice === 1 ? `UID ${setOf(part)}` : dice === 2 ? "ALL" : `MODSEQ ${since}`;
  const { doing, status } = await session.run(kind, `${kind} ${key}`);
  if (status !== "OK") return;
  if (doing.found === undefined) return session.violate(`${kind} ${key} has no answer`);
  const found = new Set(doing.found);
  const asked = new Set(part);
  for (const uid of found) {
    if (!asked.has(uid)) session.violate(`${kind} ${key} found UID ${uid}`);
  }
  for (const uid of part) {
    const message = view.truth.message(uid);
    if (found.has(uid) || view.truth.floor(message, doing.start) < since) continue;
    message.passedOver = `${kind} ${key}`;
  }
}

async function searchFlag(
  client: StressClient,
  session: StressSession,
  view: MailboxView,
  kind: string,
): Promise<void> {
  const flag = client.oneOf(flagsInUse);
  const key = flag.startsWith("\\") ? flag.slice(1).toUpperCase() : `KEYWORD ${flag}`;
  const inverse = client.chance(0.3);
  const { uids: before } = view;
  const { doing, status } = await session.run(kind, `${kind} ${inverse ? "NOT " : ""}${key}`);
  if (status !== "OK") return;
  if (doing.found === undefined) return session.violate(`${kind} ${key} has no answer`);
  const found = new Set(doing.found);
  for (const uid of before) {
    const message = view.truth.message(uid);
    const sure = message.sure.get(flag);
    if (sure === undefined || sure.since >= doing.start) continue;
    if (sure.present !== inverse) {
      if (!found.has(uid)) message.passedOver = `${kind} ${key}`;
    } else if (found.has(uid)) {
      session.violate(`${kind} found UID ${uid}, whose ${flag} was ${inverse ? "set" : "cleared"}`);
    }
  }
}

export async function noop(client: StressClient, session: StressSession): Promise<void> {
  if (session.view === undefined) await session.run("NOOP", "NOOP");
  else await client.news(session, session.view);
}

export async function idle(client: StressClient, session: StressSession): Promise<void> {
  await session.idle(() => client.world.pause(20 + client.below(900)));
}
