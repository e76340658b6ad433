// An IMAP client that keeps its own idea of the mailbox from the server's responses alone, and checks
// each response against it: sequence numbers, UIDs, when EXPUNGE may come. RFC 9051 §7.5.1

import { LineClient } from "../../support/line-client.ts";

interface KnownMessage {
  uid: number | undefined;
  flags: string | undefined;
}

/** Commands during which EXPUNGE must not come. */
const noExpunge = /^(FETCH|STORE|SEARCH)/;

export class ModelClient {
  readonly name: string;
  readonly #client: LineClient;
  readonly #qresync: boolean;
  readonly messages: KnownMessage[] = [];
  readonly transcript: string[] = [];
  #command = "";
  #count = 0;
  #highestModSeq = 0;

  private constructor(name: string, client: LineClient, qresync: boolean) {
    this.name = name;
    this.#client = client;
    this.#qresync = qresync;
  }

  static async open(
    port: number,
    name: string,
    mailbox: string,
    qresync: boolean,
  ): Promise<ModelClient> {
    const line = await LineClient.connect({ port, timeoutMs: 40_000 });
    const client = new ModelClient(name, line, qresync);
    await client.#client.readLine();
    await client.run("LOGIN u1 secret");
    if (qresync) await client.run("ENABLE QRESYNC");
    await client.run(`SELECT ${mailbox}`);
    return client;
  }

  /** Runs one command and gives the status of its reply. */
  async run(command: string): Promise<string> {
    const tag = `${this.name}${++this.#count}`;
    this.#command = command;
    this.#say(`C: ${tag} ${command}`);
    this.#client.send(`${tag} ${command}\r\n`);
    for (;;) {
      const line = await this.#client.readLine();
      this.#say(`S: ${line}`);
      if (line.startsWith(`${tag} `)) {
        this.#command = "";
        // After .SILENT this client's own changes are not told.
        if (command.includes(".SILENT")) for (const each of this.messages) each.flags = undefined;
        return line.slice(tag.length + 1);
      }
      this.#untagged(line);
    }
  }

  /** IDLE until a response has come or `stop` resolves. */
  async idle(stop: Promise<unknown>): Promise<void> {
    const tag = `${this.name}${++this.#count}`;
    this.#command = "IDLE";
    this.#client.send(`${tag} IDLE\r\n`);
    this.#say(`C: ${tag} IDLE`);
    const begun = await this.#client.readLine();
    this.#check(begun === "+ idling", `no continuation but ${begun}`);
    await stop;
    this.#client.send("DONE\r\n");
    for (;;) {
      const line = await this.#client.readLine();
      this.#say(`S: ${line}`);
      if (line.startsWith(`${tag} OK`)) return;
      this.#untagged(line);
    }
  }

  close(): void {
    this.#client.close();
  }

  #untagged(line: string): void {
    const number = /^\* (\d+) (EXISTS|EXPUNGE|RECENT|FETCH)(.*)$/.exec(line);
    if (number !== null) {
      const n = Number(number[1]);
      if (number[2] === "EXISTS") return this.#exists(n);
      if (number[2] === "EXPUNGE") return this.#expunge(n);
      if (number[2] === "FETCH") return this.#fetch(n, number[3] ?? "");
      this.#check(n <= this.messages.length, "more recent messages than messages");
      return;
    }
    if (line.startsWith("* VANISHED ")) return this.#vanished(line.slice(11));
    if (line.startsWith("* SEARCH")) return this.#search(line);
    this.#check(/^\* (OK|FLAGS|ENABLED|LIST)/.test(line), `unexpected ${line}`);
  }

  #exists(count: number): void {
    this.#check(count >= this.messages.length, `EXISTS ${count} below ${this.messages.length}`);
    while (this.messages.length < count) this.messages.push({ uid: undefined, flags: undefined });
  }

  #expunge(n: number): void {
    this.#check(!this.#qresync, "EXPUNGE with QRESYNC");
    this.#check(!noExpunge.test(this.#command), `EXPUNGE during ${this.#command}`);
    this.#check(n >= 1 && n <= this.messages.length, `EXPUNGE of number ${n}`);
    this.messages.splice(n - 1, 1);
  }

  #vanished(set: string): void {
    this.#check(this.#qresync, "VANISHED without QRESYNC");
    this.#check(!noExpunge.test(this.#command), `VANISHED during ${this.#command}`);
    for (const range of set.split(",")) {
      const [low = 0, high = low] = range.split(":").map(Number);
      for (let uid = low; uid <= high; uid++) {
        const at = this.messages.findIndex((message) => message.uid === uid);
        const place = at >= 0 ? at : this.#placeOfUnknown(uid);
        this.#check(place >= 0, `VANISHED of unknown ${uid}`);
        this.messages.splice(place, 1);
      }
    }
  }

  /** Where a message that was never fetched must be: behind all lower UIDs, before all higher ones. */
  #placeOfUnknown(uid: number): number {
    let behind = -1;
    for (const [at, message] of this.messages.entries()) {
      if (message.uid !== undefined && message.uid < uid) behind = at;
    }
    return this.messages[behind + 1]?.uid === undefined && behind + 1 < this.messages.length
      ? behind + 1
      : -1;
  }

  #search(line: string): void {
    const numbers = line.split(" ").slice(2).map(Number);
    if (this.#command.startsWith("UID")) return;
    for (const n of numbers) this.#check(n >= 1 && n <= this.messages.length, `SEARCH found ${n}`);
  }

  #fetch(n: number, items: string): void {
    const message = this.messages[n - 1];
    this.#check(message !== undefined, `FETCH of number ${n} of ${this.messages.length}`);
    if (message === undefined) return;
    const uid = /\bUID (\d+)/.exec(items);
    const flags = /FLAGS \(([^)]*)\)/.exec(items);
    const modSeq = /MODSEQ \((\d+)\)/.exec(items);
    if (uid !== null) {
      const found = Number(uid[1]);
      this.#check(
        message.uid === undefined || message.uid === found,
        `number ${n} was UID ${message.uid} and is ${found}`,
      );
      message.uid = found;
      const before = this.messages[n - 2]?.uid;
      this.#check(before === undefined || before < found, `UIDs do not ascend at ${n}`);
    }
    if (flags !== null) message.flags = sortedFlags(flags[1] ?? "");
    if (modSeq !== null) this.#highestModSeq = Math.max(this.#highestModSeq, Number(modSeq[1]));
    if (this.#qresync) this.#check(uid !== null, "FETCH without UID with QRESYNC");
  }

  #say(line: string): void {
    this.transcript.push(line);
    if (this.transcript.length > 60) this.transcript.shift();
  }
  #check(holds: boolean, what: string): void {
    if (holds) return;
    throw new Error(`${this.name}: ${what}\n${this.transcript.join("\n")}`);
  }
}

/** Flags in one order, without \Recent. */
export function sortedFlags(flags: string): string {
  return flags
    .split(" ")
    .filter((flag) => flag !== "" && flag !== "\\Recent")
    .sort()
    .join(" ");
}
