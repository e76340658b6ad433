// Looks a mailbox through while every client is quiet: each gateway must show the same, and it must be what
// the truth says: nothing acknowledged is lost, nothing came from nowhere, nothing came back.

import type { Listed } from "./client.ts";
import { type Outcome, StressSession } from "./session.ts";
import { flagsInUse, hasFlag, type MailboxTruth, type Message } from "./truth.ts";
import { parseFetch } from "./view.ts";
import type { World } from "./world.ts";

export type Listing = ReadonlyMap<number, Listed>;

/** Looks through all mailboxes at each port. @returns what is in each. */
export async function audit(
  world: World,
  ports: readonly number[],
): Promise<ReadonlyMap<MailboxTruth, Listing>> {
  const listings = new Map<MailboxTruth, Listing>();
  const users = new Set(world.mailboxes.map(({ user }) => user));
  for (const user of users) {
    const truths = world.mailboxes.filter((truth) => truth.user === user);
    for (const port of ports) {
      const can = { condstore: true, qresync: false, rev2: false };
      const session = await StressSession.open(world, `audit ${user}`, port, user, can);
      try {
        for (const truth of truths) {
          const listing = await list(session, truth);
          const before = listings.get(truth);
          if (before !== undefined && textOf(before) !== textOf(listing))
            session.violate(
              `${truth.name} is (${textOf(before)}) there, (${textOf(listing)}) here`,
            );
          listings.set(truth, listing);
          judge(session, truth, listing);
        }
      } finally {
        session.close();
      }
    }
  }
  for (const truth of world.mailboxes) judgeMoves(world, truth);
  return listings;
}

/** EXAMINE, FETCH, STATUS and SEARCH must agree. */
async function list(session: StressSession, truth: MailboxTruth): Promise<Listing> {
  const counters = await insist(
    session,
    "STATUS",
    `STATUS ${truth.name} (MESSAGES UNSEEN UIDNEXT HIGHESTMODSEQ)`,
  );
  const view = session.opening(truth, true);
  const { doing } = await insist(session, "EXAMINE", `EXAMINE ${truth.name}`);
  const listing = new Map<number, Listed>();
  if (view.count > 0) {
    const items = "UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (X-STRESS)]";
    const { untagged } = await insist(session, "FETCH", `FETCH 1:* (${items})`);
    for (const { text, literals } of untagged) {
      if (literals.length === 0) continue;
      const { uid, flags = "", modSeq } = parseFetch(text);
      const id = /X-Stress: (\S+)/i.exec(literals[0]?.toString("latin1") ?? "")?.[1] ?? "";
      listing.set(uid, { flags, modSeq, id });
    }
  }
  const unseen = [...listing.values()].filter(({ flags }) => !hasFlag(flags, "\\Seen")).length;
  const expected: readonly [string, number][] = [
    ["MESSAGES", listing.size],
    ["UNSEEN", unseen],
    ["UIDNEXT", Number(doing.codes.get("UIDNEXT"))],
    ["HIGHESTMODSEQ", Number(doing.codes.get("HIGHESTMODSEQ"))],
  ];
  for (const [name, value] of expected) {
    const told = counters.doing.counters.get(name);
    if (told !== value) session.violate(`STATUS ${truth.name} has ${name} ${told}, not ${value}`);
  }
  if (view.count !== listing.size)
    session.violate(`${truth.name} has ${view.count} messages, but ${listing.size} were fetched`);
  await searches(session, truth, listing);
  return listing;
}

async function searches(
  session: StressSession,
  truth: MailboxTruth,
  listing: Listing,
): Promise<void> {
  const middle = [...listing.values()].map(({ modSeq }) => modSeq).toSorted((a, b) => a - b);
  const since = middle[middle.length >> 1] ?? 1;
  const keys: [string, (listed: Listed) => boolean][] = flagsInUse.map((flag) => [
    flag.startsWith("\\") ? flag.slice(1).toUpperCase() : `KEYWORD ${flag}`,
    ({ flags }) => hasFlag(flags, flag),
  ]);
  keys.push([`MODSEQ ${since}`, ({ modSeq }) => modSeq >= since]);
  for (const [key, matches] of keys) {
    const { doing } = await insist(session, "UID SEARCH", `UID SEARCH ${key}`);
    const expected = [...listing].filter(([, listed]) => matches(listed)).map(([uid]) => uid);
    if (doing.found?.join(" ") !== expected.join(" "))
      session.violate(
        `${truth.name}: ${key} finds ${doing.found?.join(" ")}, not ${expected.join(" ")}`,
      );
  }
}

/** A node may have died just now: NO is asked again. */
async function insist(session: StressSession, kind: string, line: string): Promise<Outcome> {
  for (let tries = 0; ; tries++) {
    const outcome = await session.run(kind, line);
    if (outcome.status === "OK") return outcome;
    if (tries === 20) throw new Error(`${line}: ${outcome.text}`);
    await session.world.pause(500);
  }
}

function textOf(listing: Listing): string {
  return [...listing].map(([uid, { flags, modSeq }]) => `${uid}:${modSeq}:${flags}`).join(", ");
}

/** What is there, and what is not, against what is known. */
export function judge(
  session: { readonly violate: (what: string) => void },
  truth: MailboxTruth,
  listing: Listing,
): void {
  const wrong = (what: string): void => session.violate(`${truth.name}: ${what}`);
  for (const [uid, { id, modSeq }] of listing) {
    const message = truth.seen(uid);
    truth.learnId(uid, id);
    if (message.goneAt < Infinity) wrong(`UID ${uid} is there again after its EXPUNGE`);
    if (message.passedOver !== undefined)
      wrong(`UID ${uid} is there, but ${message.passedOver} passed it over`);
    if (modSeq <= message.expungedAt) wrong(`UID ${uid} was \\Deleted and outlived an EXPUNGE`);
  }
  for (const message of truth.messages.values()) {
    if (message.bornAt < Infinity && !listing.has(message.uid)) truth.gone(message.uid);
    if (!message.explained && message.bornAt < Infinity) explain(truth, message, wrong);
    if (message.goneAt === Infinity || message.judged) continue;
    message.judged = true;
    const asked = message.deletable || message.moving;
    if (!asked) wrong(`UID ${message.uid} (${message.id}) is lost: nobody has removed it`);
  }
}

/** Nobody was told that the message was made: a command without an outcome must have made it. */
function explain(truth: MailboxTruth, message: Message, wrong: (what: string) => void): void {
  message.explained = true;
  // Nobody knows which flags it came with.
  message.deletable = true;
  // Gone before anybody has read it.
  if (message.id === undefined) return;
  const left = truth.possible.get(message.id) ?? 0;
  if (left === 0) wrong(`UID ${message.uid} (${message.id}) came from nowhere`);
  else truth.possible.set(message.id, left - 1);
}

/** A message that only a MOVE can have taken away is where that put it. */
function judgeMoves(world: World, truth: MailboxTruth): void {
  for (const message of truth.messages.values()) {
    if (message.goneAt === Infinity || message.moved || message.deletable) continue;
    if (!message.moving || message.id === undefined) continue;
    // Once found, it need not be looked for again.
    message.moved = true;
    const targets = truth.perhapsMoved.filter(({ uid }) => uid === message.uid);
    // One that went on before anybody has read its id may be it.
    const arrived = targets.some(({ target }) =>
      [...target.messages.values()].some(({ id }) => id === message.id || id === undefined),
    );
    if (!arrived)
      world.violate(
        `${truth.user}/${truth.name}: UID ${message.uid} (${message.id}) was lost in a MOVE`,
      );
  }
}

/** For reports: how many messages there are. */
export function sizeOf(listings: ReadonlyMap<MailboxTruth, Listing>): number {
  return [...listings.values()].reduce((sum, { size }) => sum + size, 0);
}
