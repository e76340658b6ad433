// One IMAP connection with its model: sends commands, hands every line that comes to the model in the
// order it came, keeps the last lines for the report. Which commands to send is actions' business.

import type { ImapLine, ImapReply } from "../support/imap-client.ts";
import { ImapClient } from "../support/imap-client.ts";
import type { MailboxTruth } from "./truth.ts";
import { type Doing, MailboxView, numbersOf, parseFetch } from "./view.ts";
import type { World } from "./world.ts";

/** What a session has switched on. */
export interface Abilities {
  readonly condstore: boolean;
  /** Contains condstore. */
  readonly qresync: boolean;
  readonly rev2: boolean;
}

export interface Outcome {
  readonly status: ImapReply["status"];
  readonly text: string;
  readonly untagged: readonly ImapLine[];
  readonly doing: Doing;
}

const linesKept = 60;
const lineLengthMost = 240;
/** An answer that takes longer is none: the store's own limits are lower. */
const answerWithinMs = 120_000;

export class StressSession {
  readonly name: string;
  readonly world: World;
  readonly user: string;
  readonly can: Abilities;
  view: MailboxView | undefined;
  /** Something was wrong: what the model says from here on means nothing. */
  broken = false;
  readonly #client: ImapClient;
  readonly #lines: string[] = [];
  #doing: Doing;

  /** Connects, logs in, enables. */
  static async open(
    world: World,
    name: string,
    port: number,
    user: string,
    can: Abilities,
  ): Promise<StressSession> {
    const client = await ImapClient.connect(port, undefined, answerWithinMs);
    const session = new StressSession(world, name, user, can, client);
    try {
      const login = await session.run("LOGIN", `LOGIN ${user} ${world.password}`);
      if (login.status !== "OK") throw new Error(`LOGIN was answered ${login.text}`);
      const wanted = can.qresync ? " QRESYNC" : can.condstore ? " CONDSTORE" : "";
      const enable = wanted + (can.rev2 ? " IMAP4rev2" : "");
      if (enable !== "") await session.run("ENABLE", `ENABLE${enable}`);
    } catch (error) {
      client.close();
      throw error;
    }
    return session;
  }

  private constructor(
    world: World,
    name: string,
    user: string,
    can: Abilities,
    client: ImapClient,
  ) {
    this.world = world;
    this.name = name;
    this.user = user;
    this.can = can;
    this.#client = client;
    this.#doing = this.#begin("none");
    client.onLine = (line) => this.#hear(line);
  }

  get isClosed(): boolean {
    return this.#client.isClosed;
  }

  readonly violate = (what: string): void => {
    this.broken = true;
    this.world.violate(`${this.name}: ${what}`, this.#lines);
  };

  /** A mailbox is being opened: what comes from here on is about it. */
  opening(truth: MailboxTruth, readOnly: boolean): MailboxView {
    this.view = new MailboxView(truth, readOnly, this.can.qresync, this.violate);
    return this.view;
  }

  /** One command. BAD is a violation; NO is for the caller to judge. @throws when the connection ends. */
  async run(kind: string, ...parts: readonly (string | Buffer)[]): Promise<Outcome> {
    await this.#hearEarly();
    const doing = this.#begin(kind);
    const shown = parts.map((part) => (typeof part === "string" ? part : `{${part.length}}`));
    this.#note(`C: ${shown.join("")}`);
    try {
      return this.#ended(await this.#client.command(...parts), doing);
    } catch (error) {
      throw this.#lost(kind, error);
    }
  }

  /** IDLE for so long. */
  async idle(whileIdle: () => Promise<unknown>): Promise<Outcome> {
    await this.#hearEarly();
    const doing = this.#begin("IDLE");
    this.#note("C: IDLE");
    try {
      await this.#client.idle();
      await whileIdle();
      this.#note("C: DONE");
      return this.#ended(await this.#client.done(), doing);
    } catch (error) {
      throw this.#lost("IDLE", error);
    }
  }

  /** Sends a command and cuts the connection: nobody knows what became of it. */
  async cut(afterMs: number, ...parts: readonly (string | Buffer)[]): Promise<void> {
    this.#note(`C: ${String(parts[0])} and cut`);
    this.#begin("cut");
    const answer = this.#client.command(...parts).catch(() => undefined);
    await this.world.pause(afterMs);
    this.#client.close();
    await answer;
  }

  /** A remark for the report. */
  note(line: string): void {
    this.#note(line);
  }

  close(): void {
    this.#client.onLine = undefined;
    this.#client.close();
  }

  #begin(kind: string): Doing {
    this.#doing = {
      kind,
      start: this.world.ticks.next(),
      firstTold: new Map(),
      told: new Set(),
      found: undefined,
      codes: new Map(),
      counters: new Map(),
    };
    return this.#doing;
  }

  #ended(reply: ImapReply, doing: Doing): Outcome {
    const { status, text, untagged } = reply;
    this.#code(text, doing);
    this.world.count(doing.kind, status);
    if (status === "BAD") this.violate(`${doing.kind} was answered BAD ${text}`);
    if (status === "NO" && !text.startsWith("[UNAVAILABLE]"))
      this.violate(`${doing.kind} was answered NO ${text}`);
    this.#doing = this.#begin("none");
    return { status, text, untagged, doing };
  }

  #lost(kind: string, error: unknown): Error {
    const why = error instanceof Error ? error.message : String(error);
    this.violate(`the connection ended in ${kind}: ${why}`);
    return new Error(why, { cause: error });
  }

  /** What has come since the last command: told without being asked. */
  async #hearEarly(): Promise<void> {
    while (this.#client.hasUnread && !this.#client.isClosed) await this.#client.readLine();
  }

  #hear({ text, literals }: ImapLine): void {
    this.#note(`S: ${text}`);
    this.world.hearing = this.#lines;
    const doing = this.#doing;
    if (!text.startsWith("* ")) return;
    const numbered = /^\* (\d+) (EXISTS|EXPUNGE|FETCH|RECENT)(.*)$/s.exec(text);
    if (numbered !== null) {
      const { view } = this;
      if (view === undefined) this.violate(`${text.slice(0, 40)} where nothing is selected`);
      else this.#numbered(view, Number(numbered[1]), numbered[2] ?? "", text, literals, doing);
      return;
    }
    if (text.startsWith("* BYE")) this.violate(text);
    else if (text.startsWith("* OK [")) this.#code(text.slice(5), doing);
    else this.#other(text, doing);
  }

  #numbered(
    view: MailboxView,
    number: number,
    what: string,
    text: string,
    literals: readonly Buffer[],
    doing: Doing,
  ): void {
    if (what === "EXISTS") view.exists(number, doing);
    else if (what === "EXPUNGE") view.expunge(number, doing);
    else if (what === "RECENT") {
      if (number > view.count) this.violate(`RECENT ${number} of ${view.count}`);
    } else {
      view.fetched(number, parseFetch(text), doing);
      const id = /\bX-Stress: (\S+)/i.exec(literals[0]?.toString("latin1") ?? "")?.[1];
      const uid = view.slots[number - 1]?.uid ?? 0;
      if (id !== undefined && uid > 0) view.truth.learnId(uid, id);
    }
  }

  #other(text: string, doing: Doing): void {
    const vanished = /^\* VANISHED (\(EARLIER\) )?(\S+)$/.exec(text);
    if (vanished !== null) {
      const uids = numbersOf(vanished[2] ?? "");
      // Of a SELECT with QRESYNC: about what was kept, not about the view.
      if (vanished[1] !== undefined) doing.codes.set("EARLIER", vanished[2] ?? "");
      else if (this.view === undefined) this.violate(`${text} where nothing is selected`);
      else this.view.vanished(uids, doing);
      return;
    }
    const search = /^\* SEARCH((?: \d+)*)(?: \(MODSEQ \d+\))?$/.exec(text);
    if (search !== null) {
      this.#searched(
        (search[1] ?? "")
          .split(" ")
          .filter((n) => n !== "")
          .map(Number),
        doing,
      );
      return;
    }
    if (text.startsWith("* ESEARCH")) {
      const set = / ALL (\S+)/.exec(text)?.[1];
      this.#searched(set === undefined ? [] : numbersOf(set), doing);
      return;
    }
    const status = /^\* STATUS \S+ \(([^)]*)\)$/.exec(text);
    if (status === null) return;
    const words = (status[1] ?? "").split(" ");
    for (let at = 0; at + 1 < words.length; at += 2)
      doing.counters.set(words[at] ?? "", Number(words[at + 1]));
  }

  /** Judged at once: what is expunged later in the same answer was still there. */
  #searched(numbers: readonly number[], doing: Doing): void {
    const { view } = this;
    if (view === undefined) return this.violate("SEARCH where nothing is selected");
    const byUid = doing.kind.startsWith("UID ");
    const uids = byUid ? numbers : numbers.map((number) => view.slots[number - 1]?.uid ?? -1);
    view.found(uids, doing.kind);
    doing.found = uids;
  }

  #code(text: string, doing: Doing): void {
    const code = /^\[([A-Z-]+)(?: ([^\]]*))?\]/.exec(text);
    if (code !== null) doing.codes.set(code[1] ?? "", code[2] ?? "");
  }

  #note(line: string): void {
    // Waiting for news says nothing new.
    if (line.endsWith("OK NOOP completed") && this.#lines.at(-1) === "C: NOOP") {
      this.#lines.pop();
      return;
    }
    if (this.#lines.length >= linesKept) this.#lines.shift();
    this.#lines.push(line.slice(0, lineLengthMost));
  }
}
