// IMAP clients of a chaos run: each keeps one session of one user open, reads what is new, changes
// flags, idles, and watches that UIDs, counters and acknowledged mail are what they must be.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Doing } from "./chaos-context.ts";
import { seeded } from "./chaos.ts";
import { fetchNumber, ImapClient, type ImapLine } from "./imap-client.ts";

const commandsPerTurn = 8;
/** While a mailbox moves, NOOP says nothing new: the session is told when it is there again. */
const toldWithinMs = 10_000;

/** Runs one client until `over` aborts. */
export async function runReader(context: ChaosContext, number: number, over: AbortSignal) {
  const { cluster, options } = context;
  const { gateways, users } = cluster.ports;
  // With more readers than users the same mailbox is read through several gateways.
  const round = Math.floor(number / users.length);
  const home = gateways[(number + round) % gateways.length]?.id ?? "g1";
  const reader = new Reader(context, home, users[number % users.length] ?? "");
  const random = seeded(options.seed * 2000 + number);
  // Readers don't begin all at once: logins cost a hash each.
  await wait(random() * 2000, undefined, { signal: over }).catch(() => undefined);
  try {
    while (!over.aborted) await reader.turn(random, over);
  } finally {
    await reader.logout();
  }
}

class Reader {
  readonly #context: ChaosContext;
  /** The gateway that it uses; another one when that is away. */
  #home: string;
  readonly #user: string;
  readonly #named = new Map<number, string>();
  readonly #seen = new Set<string>();
  readonly #highest = new Map<string, number>();
  #client: ImapClient | undefined;
  /** The gateway process that the session is at. */
  #pid = 0;
  #lastUid = 0;
  readonly #doing: Doing;

  constructor(context: ChaosContext, home: string, user: string) {
    this.#context = context;
    this.#doing = context.client();
    this.#home = home;
    this.#user = user;
  }

  /** Some commands one after the other, then IDLE for a while. */
  async turn(random: () => number, over: AbortSignal): Promise<void> {
    try {
      for (let left = commandsPerTurn; left > 0 && !over.aborted; left--) {
        await wait(50 + random() * 100);
        await this.#step(random());
      }
      const client = await this.#session();
      this.#doing.sinceMs = performance.now();
      await client.idle();
      this.#done();
      await wait(300 + random() * 700, undefined, { signal: over }).catch(() => undefined);
      this.#doing.sinceMs = performance.now();
      await client.done();
      this.#done();
    } catch (error) {
      this.#lost(error);
    }
  }

  async logout(): Promise<void> {
    await this.#client?.logout().catch(() => undefined);
  }

  async #step(choice: number): Promise<void> {
    const client = await this.#session();
    // Refused commands are repeated: until one succeeds the user has waited.
    this.#doing.sinceMs = performance.now();
    const end = performance.now() + this.#context.giveUpMs;
    for (;;) {
      const refused = await this.#command(client, choice);
      if (refused === undefined) break;
      this.#context.ledger.count(`imap: ${refused}`);
      if (performance.now() > end) {
        this.#context.tooLate(`${this.#user}: a command was refused for long: ${refused}`);
        return;
      }
      await wait(20);
    }
    this.#done();
  }

  /** @returns why it was refused. */
  async #command(client: ImapClient, choice: number): Promise<string | undefined> {
    if (choice < 0.6) return this.#readNew(client);
    if (choice < 0.8) return this.#status(client);
    const uid = Math.max(1, Math.floor(this.#lastUid * choice));
    const sign = choice < 0.9 ? "+" : "-";
    const reply = await client.command(`UID STORE ${uid} ${sign}FLAGS (\\Flagged)`);
    return reply.status === "OK" ? undefined : reply.text;
  }

  async #readNew(client: ImapClient): Promise<string | undefined> {
    const due = this.#context.acknowledged(this.#user, toldWithinMs);
    const noop = await client.command("NOOP");
    if (noop.status !== "OK") return noop.text;
    const from = this.#lastUid + 1;
    const header = "BODY.PEEK[HEADER.FIELDS (X-Ledger)]";
    const reply = await client.command(`UID FETCH ${from}:* (${header})`);
    if (reply.status !== "OK") return reply.text;
    for (const line of reply.untagged) if (line.literals.length > 0) this.#note(line, from);
    this.#context.counts.reads++;
    for (const id of due) {
      if (this.#seen.has(id)) continue;
      this.#context.tooLate(`${this.#user}: the session was not told of ${id} in time`);
      this.#seen.add(id);
    }
    return undefined;
  }

  /** `n:*` names the last message too when n is beyond it. */
  #note(line: ImapLine, from: number): void {
    const uid = fetchNumber(line, "UID");
    const id = /X-Ledger: (\S+)/i.exec(line.literals[0]?.toString("latin1") ?? "")?.[1] ?? "";
    const before = this.#named.get(uid) ?? id;
    if (before !== id) {
      this.#context.violation(`${this.#user}: UID ${uid} named ${before}, then ${id}`);
    }
    if (uid >= from && uid <= this.#lastUid) {
      this.#context.violation(`${this.#user}: UID ${uid} after ${this.#lastUid}`);
    }
    this.#named.set(uid, id);
    this.#seen.add(id);
    this.#lastUid = Math.max(this.#lastUid, uid);
  }

  async #status(client: ImapClient): Promise<string | undefined> {
    // What was acknowledged before a question that the primary answers is in the answer.
    const due = this.#context.acknowledged(this.#user, 0).length;
    const items = "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)";
    const reply = await client.command(`STATUS INBOX ${items}`);
    if (reply.status !== "OK") return reply.text;
    const text = reply.untagged.map((line) => line.text).join(" ");
    this.#counters(text);
    const found = Number(/\bMESSAGES (\d+)/.exec(text)?.[1] ?? Number.NaN);
    if (!(found >= due)) {
      this.#context.violation(`${this.#user}: ${found} messages, ${due} were acknowledged before`);
    }
    return undefined;
  }

  #counters(text: string): void {
    for (const name of ["UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"]) {
      const found = new RegExp(`\\b${name} (\\d+)`).exec(text)?.[1];
      if (found === undefined) continue;
      const now = Number(found);
      const before = this.#highest.get(name) ?? now;
      if (now < before || (name === "UIDVALIDITY" && now !== before)) {
        this.#context.violation(`${this.#user}: ${name} went from ${before} to ${now}`);
      }
      this.#highest.set(name, now);
    }
  }

  async #session(): Promise<ImapClient> {
    if (this.#client?.isClosed === false) return this.#client;
    // Ended between two commands.
    this.#noteEnd();
    const { cluster } = this.#context;
    this.#doing.sinceMs = performance.now();
    this.#pid = cluster.pid(this.#home);
    const { imap } = cluster.gateway(this.#home);
    const login = { user: this.#user, password: cluster.ports.password };
    const client = await ImapClient.connect(imap, login, this.#context.giveUpMs).catch((cause) => {
      this.#home = this.#context.otherGateway(this.#home);
      throw new Error("no session", { cause });
    });
    const select = await client.ok("SELECT INBOX");
    this.#counters(select.untagged.map(({ text }) => text).join(" "));
    this.#client = client;
    return client;
  }

  #done(): void {
    const nowMs = performance.now();
    this.#context.outages.operation(this.#user, this.#doing.sinceMs ?? nowMs, nowMs);
    this.#doing.sinceMs = undefined;
  }

  #lost(error: unknown): void {
    this.#context.ledger.count(`imap: ${String(error)}`);
    this.#noteEnd();
    this.#doing.sinceMs = undefined;
  }

  /** Counts the session, if there was one, for the gateway process that it was at. */
  #noteEnd(): void {
    if (this.#client === undefined) return;
    this.#client.close();
    this.#client = undefined;
    this.#context.sessionClosed("imap", this.#home, this.#pid);
  }
}
