// Announcements in a chaos run: one poster that writes to the group `all` by the admin API, each post
// with an id of its own that all tries share, and members that read and flag in two sessions each. The
// judgement: each accepted post once in every member's view, no acknowledged flag lost, none of others'.

import { createHash } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext } from "./chaos-context.ts";
import { seeded } from "./chaos.ts";
import { fetchNumber, ImapClient, type ImapLine } from "./imap-client.ts";

const folder = "Announcements/all";
const header = "X-Announcement";
const postEveryMs = 500;
const membersMost = 6;
/** As for readers of other mail: while a mailbox moves, NOOP says nothing new. */
const toldWithinMs = 10_000;
const flags = ["\\Seen", "\\Flagged"] as const;
type Flag = (typeof flags)[number];

/** What clients were told in a run. */
export interface Told {
  /** Accepted posts by id, and when. */
  readonly accepted: ReadonlyMap<string, number>;
  /** Ids that were tried and never answered with 201. */
  readonly unknown: ReadonlySet<string>;
  /** `user uid flag` of each STORE that was answered OK, and of each that was tried. */
  readonly kept: ReadonlySet<string>;
  readonly tried: ReadonlySet<string>;
}

/** @returns what is wrong with a member's view, given as the answer to a FETCH of UID, FLAGS and ids. */
export function judgeView(
  lines: readonly ImapLine[],
  user: string,
  { accepted, unknown, kept, tried }: Told,
): readonly string[] {
  const wrong: string[] = [];
  const counts = new Map<string, number>();
  for (const line of lines) {
    const id = idIn(line);
    if (id === undefined) continue;
    counts.set(id, (counts.get(id) ?? 0) + 1);
    const uid = fetchNumber(line, "UID");
    for (const flag of flags) {
      const [key, has] = [`${user} ${uid} ${flag}`, line.text.includes(flag)];
      if (!has && kept.has(key)) wrong.push(`${flag} of ${id} is lost`);
      if (has && !tried.has(key)) wrong.push(`${flag} of ${id} was never given`);
    }
  }
  for (const id of accepted.keys()) {
    const count = counts.get(id) ?? 0;
    if (count !== 1) wrong.push(`${count} of announcement ${id}, not 1`);
  }
  for (const [id, count] of counts) {
    if (accepted.has(id)) continue;
    if (count > 1 || !unknown.has(id)) wrong.push(`${count} of announcement ${id}`);
  }
  return wrong;
}

/** Posts, reads, and remembers what was acknowledged. */
export class Announcements {
  readonly #context: ChaosContext;
  readonly #accepted = new Map<string, number>();
  readonly #unknown = new Set<string>();
  readonly #kept = new Set<string>();
  readonly #tried = new Set<string>();
  #slowestMs = 0;

  constructor(context: ChaosContext) {
    this.#context = context;
  }

  /** Posts, reads and flags until `over` aborts; what is under way is brought to its end. */
  async run(over: AbortSignal): Promise<void> {
    const { users } = this.#context.cluster.ports;
    const members = users.slice(0, membersMost);
    await Promise.all([
      this.#post(over),
      ...members.flatMap((user, n) =>
        flags.map((flag, m) => this.#member(user, flag, n + m, over)),
      ),
    ]);
  }

  /** Reads every member's view through every gateway. @returns what is wrong. */
  async check(): Promise<readonly string[]> {
    const { cluster, ledger, options } = this.#context;
    const { users, gateways, password } = cluster.ports;
    const wrong: string[] = [];
    const told: Told = {
      accepted: this.#accepted,
      unknown: this.#unknown,
      kept: this.#kept,
      tried: this.#tried,
    };
    for (const { id, imap } of gateways) {
      for (const user of users) {
        const client = await ImapClient.connect(imap, { user, password });
        await client.ok(`SELECT ${folder}`);
        const { untagged } = await client.ok(`UID FETCH 1:* (FLAGS ${peek})`);
        wrong.push(...judgeView(untagged, user, told).map((line) => `${id} ${user}: ${line}`));
        await client.logout();
      }
    }
    ledger.count(`announcements: ${this.#unknown.size} without an answer`);
    options.say(
      `${this.#accepted.size} announcements, ${this.#kept.size} flags on them kept, ${wrong.length} wrong`,
    );
    this.#context.figure("announcements", this.#accepted.size);
    this.#context.figure("slowest announcement ms", this.#slowestMs);
    return wrong;
  }

  async #post(over: AbortSignal): Promise<void> {
    const { options } = this.#context;
    const random = seeded(options.seed * 3000);
    for (let turn = 0; !over.aborted; turn++) {
      const startedMs = performance.now();
      await this.#postOnce(`${options.seed}-a${turn}`, random);
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedMs);
      await pause(random() * 2 * postEveryMs, over);
    }
  }

  /** Tries the same id at any gateway until it is accepted. */
  async #postOnce(id: string, random: () => number): Promise<void> {
    const { cluster, ledger, giveUpMs } = this.#context;
    const gateways = cluster.ports.gateways.map((gateway) => gateway.id);
    const opId = createHash("sha256").update(id).digest("hex").slice(0, 32);
    const message = messageOf(id);
    const path = `/admin/v1/groups/all/announcements?id=${opId}`;
    this.#unknown.add(id);
    for (const end = performance.now() + giveUpMs; performance.now() < end; ) {
      const gateway = gateways[Math.floor(random() * gateways.length)];
      try {
        const { status, text } = await cluster.admin("POST", path, message, gateway);
        if (status === 201) {
          ledger.write({ announcement: id });
          this.#accepted.set(id, performance.now());
          this.#unknown.delete(id);
          return;
        }
        ledger.count(`announcement: ${status} ${text.slice(0, 100)}`);
      } catch (error) {
        ledger.count(`announcement: ${String(error)}`);
      }
      await wait(50);
    }
    this.#context.tooLate(`announcement ${id} was not accepted in ${giveUpMs} ms`);
  }

  /** One session of a member, opened again when it ends. */
  async #member(user: string, flag: Flag, number: number, over: AbortSignal): Promise<void> {
    const context = this.#context;
    const random = seeded(context.options.seed * 4000 + number);
    const { gateways } = context.cluster.ports;
    let home = gateways[number % gateways.length]?.id ?? "g1";
    const reader = new View(user);
    await pause(random() * 2000, over);
    while (!over.aborted) {
      const pid = context.cluster.pid(home);
      let client: ImapClient | undefined;
      try {
        const login = { user, password: context.cluster.ports.password };
        client = await ImapClient.connect(context.cluster.gateway(home).imap, login);
        // The group is there once it was first written to, and the gateway has heard of it.
        while (!over.aborted && (await client.command(`SELECT ${folder}`)).status !== "OK") {
          await pause(200, over);
        }
        while (!over.aborted) {
          await this.#turn(client, reader, flag, random);
          await pause(100 + random() * 400, over);
        }
        await client.logout();
      } catch (error) {
        context.ledger.count(`announcements: ${String(error)}`);
        if (client === undefined) home = context.otherGateway(home);
        else context.sessionClosed("imap (announcements)", home, pid);
        client?.close();
        await pause(50, over);
      }
    }
  }

  /** Reads what is new, and flags one message. */
  async #turn(client: ImapClient, view: View, flag: Flag, random: () => number): Promise<void> {
    const context = this.#context;
    const dueMs = performance.now() - toldWithinMs * (context.options.roomForLoad ?? 1);
    const due = [...this.#accepted].flatMap(([id, atMs]) => (atMs <= dueMs ? [id] : []));
    if ((await client.command("NOOP")).status !== "OK") return;
    const fetched = await client.command(`UID FETCH ${view.lastUid + 1}:* (${peek})`);
    if (fetched.status !== "OK") return;
    for (const line of fetched.untagged) {
      const wrong = view.note(line);
      if (wrong !== undefined) context.violation(wrong);
    }
    for (const id of view.missing(due)) {
      context.tooLate(`${view.user}: the session was not told of announcement ${id} in time`);
    }
    const uid = view.choose(random());
    if (uid === undefined) return;
    const key = `${view.user} ${uid} ${flag}`;
    this.#tried.add(key);
    const stored = await client.command(`UID STORE ${uid} +FLAGS.SILENT (${flag})`);
    if (stored.status === "OK") {
      context.ledger.write({ kept: key });
      this.#kept.add(key);
    } else context.ledger.count(`announcements: ${stored.text}`);
  }
}

/** What one member's client knows of the folder, through all its sessions. */
class View {
  readonly user: string;
  readonly #uids = new Map<string, number>();
  lastUid = 0;

  constructor(user: string) {
    this.user = user;
  }

  /** @returns what is wrong. */
  note(line: ImapLine): string | undefined {
    const id = idIn(line);
    if (id === undefined) return undefined;
    const uid = fetchNumber(line, "UID");
    const before = this.#uids.get(id) ?? uid;
    this.#uids.set(id, uid);
    // `n:*` names the last message too when n is beyond it.
    if (uid < this.lastUid) return `${this.user}: UID ${uid} after ${this.lastUid}`;
    this.lastUid = uid;
    if (before !== uid) return `${this.user}: announcement ${id} is ${before} and ${uid}`;
    return undefined;
  }

  /** Those of `ids` that were never seen, told once. */
  missing(ids: readonly string[]): readonly string[] {
    const missing = ids.filter((id) => !this.#uids.has(id));
    for (const id of missing) this.#uids.set(id, 0);
    return missing;
  }

  /** A UID that is there. */
  choose(random: number): number | undefined {
    const uids = [...this.#uids.values()].filter((uid) => uid > 0);
    return uids[Math.floor(random * uids.length)];
  }
}

const peek = `BODY.PEEK[HEADER.FIELDS (${header})]`;

function idIn({ literals }: ImapLine): string | undefined {
  return /X-Announcement: (\S+)/i.exec(literals[0]?.toString("latin1") ?? "")?.[1];
}

function messageOf(id: string): Buffer {
  return Buffer.from(
    [
      `${header}: ${id}`,
      "From: Operator <operator@pabal.test>",
      `Subject: announcement ${id}`,
      "Date: Sun, 22 Nov 2026 16:00:00 +0000",
      "",
      "To everyone, once.",
      "",
    ].join("\r\n"),
  );
}

function pause(ms: number, over: AbortSignal): Promise<void> {
  return wait(ms, undefined, { signal: over }).catch(() => undefined);
}
