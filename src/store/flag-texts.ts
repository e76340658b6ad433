// The FLAGS item of a FETCH answer as bytes, one buffer per distinct flags number: a mailbox has few.

import type { MailboxSummary } from "./mailbox-state.ts";

export class FlagTexts {
  readonly #summary: MailboxSummary;
  readonly #plain = new Map<number, Buffer>();
  readonly #recent = new Map<number, Buffer>();

  constructor(summary: MailboxSummary) {
    this.#summary = summary;
  }

  of(flags: number, recent: boolean): Buffer {
    const cache = recent ? this.#recent : this.#plain;
    let text = cache.get(flags);
    if (text === undefined) {
      const names = this.#summary.keywords.list(flags);
      text = Buffer.from(` FLAGS (${(recent ? [...names, "\\Recent"] : names).join(" ")})`);
      cache.set(flags, text);
    }
    return text;
  }
}
