// An IMAP session without a socket: bytes in by chunks, all bytes out at the end. For fuzzing.

import { pino } from "pino";
import { serveSession } from "../../src/gateway/imap/dispatch.ts";
import { defaultImapLimits } from "../../src/gateway/imap/limits.ts";
import type { ImapLimits } from "../../src/gateway/imap/limits.ts";
import { Session } from "../../src/gateway/imap/session.ts";
import { noBinding } from "../../src/gateway/sasl/channel-binding.ts";
import { FakeMailStore } from "./fake-mail-store.ts";
import { fakeServices } from "./fake-services.ts";
import type { FakeServices } from "./fake-services.ts";

export interface SessionRun {
  readonly output: string;
  /** Lines logged as errors: our bugs. */
  readonly errors: readonly string[];
}

/**
 * Runs one session over the chunks to its end.
 * @param prepare Fills the store before.
 */
export async function runSession(
  chunks: readonly Uint8Array[],
  prepare: (services: FakeServices) => Promise<unknown>,
  limits: Partial<ImapLimits> = {},
): Promise<SessionRun> {
  const errors: string[] = [];
  const log = pino({ level: "error" }, { write: (line: string) => errors.push(line) });
  const services = fakeServices({ log, store: new FakeMailStore(() => 1_700_000_000_000) });
  await prepare(services);
  const parts: Buffer[] = [];
  const gone = new AbortController();
  const session = new Session(
    services,
    { ...defaultImapLimits, ...limits },
    {
      address: "127.0.0.1",
      pause: () => {},
      resume: () => {},
      write: (bytes) => parts.push(Buffer.from(bytes)),
      pendingBytes: () => 0,
      onDrain: (run) => run(),
      secure: () => false,
      channelBinding: () => noBinding,
      startTls: () => Promise.reject(new Error("no TLS here")),
      claimUser: () => true,
      releaseUser: () => {},
      compressed: () => false,
      startCompression: (held) => session.receive(held),
      endCompression: () => {},
      destroy: () => gone.abort(),
    },
    gone.signal,
  );
  const served = serveSession(session);
  for (const chunk of chunks) {
    session.receive(chunk);
    await Promise.resolve();
  }
  session.input.end();
  await served;
  gone.abort();
  return { output: Buffer.concat(parts).toString("latin1"), errors };
}
