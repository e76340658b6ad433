// An IMAP listener over the fake services, for tests that need a socket.

import { startImap } from "../../../src/gateway/imap/listener.ts";
import type { ImapOptions } from "../../../src/gateway/imap/listener.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { fakeServices } from "../../support/fake-services.ts";
import type { FakeServices } from "../../support/fake-services.ts";
import { LineClient } from "../../support/line-client.ts";
import { seedAccount } from "./support.ts";

export interface TestImap {
  readonly port: number;
  readonly services: FakeServices;
  /** The account u1 of `seedAccount`. */
  readonly who: Principal;
  readonly listener: Listener;
}

/** Listens in plaintext on a free port of 127.0.0.1. The caller closes the listener. */
export async function startTestImap(
  options: Partial<ImapOptions> = {},
  services: FakeServices = fakeServices(),
): Promise<TestImap> {
  const who = await seedAccount(services);
  const address = { address: "127.0.0.1", port: 0, implicitTls: false };
  const listener = await startImap({ services, ...address, ...options });
  return { port: listener.port, services, who, listener };
}

/** A connection that is logged in as u1 and, when named, has the mailbox selected. */
export async function loggedIn(port: number, mailbox?: string): Promise<LineClient> {
  const client = await LineClient.connect({ port });
  client.send("x LOGIN u1 secret\r\n");
  await client.skipTo("x OK");
  if (mailbox !== undefined) {
    client.send(`y SELECT ${mailbox}\r\n`);
    await client.skipTo("y OK");
  }
  return client;
}
