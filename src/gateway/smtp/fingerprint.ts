// What a client's repetition of a message has in common with its first try: sender, recipient and the
// bytes as the client sent them (its Message-ID among them), before we add or mend anything.

import { createHash } from "node:crypto";

const digits = 32;

export class Fingerprint {
  readonly #hash = createHash("sha256");

  constructor(sender: string) {
    this.#hash.update(`${sender}\0`);
  }

  /** The next of the client's bytes. */
  push(bytes: Buffer): void {
    this.#hash.update(bytes);
  }

  /** One per recipient, in their order. Ends it. */
  finish(recipients: readonly string[]): readonly string[] {
    const [only] = recipients;
    if (only !== undefined && recipients.length === 1)
      return [this.#hash.update(`\0${only}`).digest("hex").slice(0, digits)];
    const message = this.#hash.digest("hex");
    return recipients.map((path) =>
      createHash("sha256").update(`${message}\0${path}`).digest("hex").slice(0, digits),
    );
  }
}
