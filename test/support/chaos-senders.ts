// SMTP clients of a chaos run: each keeps its connection open and sends message after message to users
// drawn at random, with a ledger; a message that is refused or left unanswered is sent again at once.

import { setTimeout as wait } from "node:timers/promises";
import type { ChaosContext, Doing } from "./chaos-context.ts";
import { seeded } from "./chaos.ts";
import { hashOf, ledgerMessage } from "./ledger.ts";
import { SmtpClient } from "./smtp-client.ts";

const words = "the relay post rides on, horse after horse.\r\n.a line with a dot\r\n..two\r\n";

/** Runs one client until `over` aborts; the message under way is brought to its end. */
export async function runSender(context: ChaosContext, number: number, over: AbortSignal) {
  const { cluster, options } = context;
  const random = seeded(options.seed * 1000 + number);
  const { gateways, users } = cluster.ports;
  const home = gateways[number % gateways.length]?.id ?? "g1";
  const sender = new Sender(context, home);
  const pauseMs = (options.senders * 1000) / options.messagesPerSecond;
  try {
    for (let turn = 0; !over.aborted; turn++) {
      await wait(random() * 2 * pauseMs, undefined, { signal: over }).catch(() => undefined);
      if (over.aborted) return;
      const user = users[Math.floor(random() * users.length)] ?? "";
      await sender.deliver(user, `${options.seed}-${number}-${turn}`, random);
    }
  } finally {
    await sender.quit();
  }
}

class Sender {
  readonly #context: ChaosContext;
  readonly #doing: Doing;
  /** The gateway that it uses; another one when that is away. */
  #home: string;
  #client: SmtpClient | undefined;
  /** The gateway process that the connection leads to. */
  #pid = 0;

  constructor(context: ChaosContext, home: string) {
    this.#context = context;
    this.#doing = context.client();
    this.#home = home;
  }

  /** Tries until one copy is acknowledged; each try is a message of its own. */
  async deliver(user: string, name: string, random: () => number): Promise<void> {
    const startedMs = performance.now();
    this.#doing.sinceMs = startedMs;
    try {
      await this.#try(user, name, random, startedMs);
    } finally {
      this.#doing.sinceMs = undefined;
    }
  }

  async #try(user: string, name: string, random: () => number, startedMs: number): Promise<void> {
    const { ledger, counts, giveUpMs } = this.#context;
    const text = words.repeat(Math.floor(random() * 60));
    for (let tries = 0; performance.now() < startedMs + giveUpMs; tries++) {
      const client = await this.#connected();
      if (client === undefined) continue;
      const id = `${name}-${tries}`;
      const message = ledgerMessage(id, text + id);
      const sent = { id, user, hash: hashOf(message) };
      counts.tries++;
      const sentMs = performance.now();
      const outcome = await client.deliver({ to: [user], message });
      if (outcome.kind === "accepted") {
        const endedMs = performance.now();
        ledger.accept(sent, endedMs - sentMs);
        this.#context.outages.operation(user, startedMs, endedMs);
        return;
      }
      if (outcome.kind === "unknown") ledger.unknown.set(id, sent);
      else ledger.refused.add(id);
      ledger.count(outcome.kind === "refused" ? outcome.reply : outcome.why);
      await wait(20);
    }
    this.#context.tooLate(`a message to ${user} was not accepted in ${giveUpMs} ms`);
  }

  async quit(): Promise<void> {
    await this.#client?.quit();
  }

  async #connected(): Promise<SmtpClient | undefined> {
    if (this.#client?.isClosed === false) return this.#client;
    if (this.#client !== undefined) this.#context.sessionClosed("smtp", this.#home, this.#pid);
    this.#client = undefined;
    try {
      this.#pid = this.#context.cluster.pid(this.#home);
      this.#client = await SmtpClient.connect(this.#context.cluster.gateway(this.#home).smtp);
    } catch {
      this.#home = this.#context.otherGateway(this.#home);
      await wait(20);
    }
    return this.#client;
  }
}
