// A ledger of what a cluster has acknowledged: each line is on disk before the client goes on, so
// that the ledger never knows less than a client that was killed.

import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";

export interface Sent {
  /** In the message as X-Ledger: unique per try. */
  readonly id: string;
  readonly user: string;
  readonly hash: string;
}

export class Ledger {
  readonly #file: number;
  readonly accepted = new Map<string, Sent>();
  /** Ids of accepted messages that lie in the mailbox, not in the spool, by user. */
  readonly inMailbox = new Map<string, { readonly id: string; readonly atMs: number }[]>();
  /** Tries whose outcome is unknown. */
  readonly unknown = new Map<string, Sent>();
  /** Tries that were refused or never sent: nothing of them may be stored. */
  readonly refused = new Set<string>();
  readonly reasons = new Map<string, number>();

  constructor(path: string) {
    this.#file = openSync(path, "a");
  }

  /** Writes one acknowledged operation down; returns once it is on disk. */
  write(entry: unknown): void {
    writeSync(this.#file, `${JSON.stringify(entry)}\n`);
    fsyncSync(this.#file);
  }

  /** @param afterMs How long the answer took: what a mail node that is away keeps waiting goes to the spool. */
  accept(sent: Sent, afterMs = spoolAfterMs): void {
    this.write({ ...sent, afterMs: Math.round(afterMs) });
    this.accepted.set(sent.id, sent);
    if (afterMs >= spoolAfterMs) return;
    const stored = { id: sent.id, atMs: performance.now() };
    const earlier = this.inMailbox.get(sent.user);
    if (earlier === undefined) this.inMailbox.set(sent.user, [stored]);
    else earlier.push(stored);
  }

  count(reason: string): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** A little less than the gateway's own. */
const spoolAfterMs = 1900;
const marker = "X-Ledger: ";

/** A message that can be found again: its first field names it, and its hash covers all from there on. */
export function ledgerMessage(id: string, text: string): Buffer {
  const lines = [
    `${marker}${id}`,
    `Message-ID: <${id}@client.test>`,
    "From: Sender <sender@example.org>",
    `Subject: ledger ${id}`,
    "Date: Sun, 22 Nov 2026 16:00:00 +0000",
    "",
    text,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n`);
}

export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What stands below the trace header fields of a stored message; undefined when it is none of ours. */
export function belowTrace(stored: Buffer): { id: string; hash: string } | undefined {
  const at = stored.indexOf(marker);
  if (at < 0) return undefined;
  const end = stored.indexOf("\r\n", at);
  return {
    id: stored.subarray(at + marker.length, end).toString("latin1"),
    hash: hashOf(stored.subarray(at)),
  };
}
