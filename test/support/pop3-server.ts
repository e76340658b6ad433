// A POP3 listener on a free port over the fake store, with one user and some messages, for tests.

import type { SecureContext } from "node:tls";
import { defaultPop3Limits } from "../../src/gateway/pop3/limits.ts";
import type { Pop3Limits } from "../../src/gateway/pop3/limits.ts";
import { startPop3 } from "../../src/gateway/pop3/listener.ts";
import type { Listener } from "../../src/gateway/services.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import { fakeServices } from "./fake-services.ts";
import type { FakeServices, FakeServicesOptions } from "./fake-services.ts";
import { simpleIndex } from "./simple-index.ts";

export interface Pop3ServerOptions extends Omit<FakeServicesOptions, "store"> {
  readonly messages?: readonly (string | Uint8Array)[];
  readonly limits?: Partial<Pop3Limits>;
  readonly implicitTls?: boolean;
  readonly secureContext?: SecureContext;
  /** Puts another store in front of the fake one, to let it fail or wait. */
  readonly wrapStore?: (store: MailStore) => MailStore | Promise<MailStore>;
}

export interface Pop3Server {
  readonly port: number;
  readonly services: FakeServices;
  readonly who: Principal;
  readonly listener: Listener;
  close(): Promise<void>;
}

/** `u1@pabal.test`, password `secret`, INBOX with `messages`. */
export async function startPop3Server(options: Pop3ServerOptions = {}): Promise<Pop3Server> {
  const services = fakeServices(options);
  const { who } = services.store.addAccount("u1@pabal.test");
  for (const message of options.messages ?? []) await deliver(services, who, message);
  const wrapped = options.wrapStore?.(services.store) ?? services.store;
  // A wrapper may be a proxy, which must not be awaited.
  const store = wrapped instanceof Promise ? await wrapped : wrapped;
  const listener = await startPop3({
    services: { ...services, store, auth: services.auth },
    limits: { ...defaultPop3Limits, lockWaitMs: 0, ...options.limits },
    address: "127.0.0.1",
    port: 0,
    implicitTls: options.implicitTls ?? false,
  });
  return {
    port: listener.port,
    services,
    who,
    listener,
    close: () => listener.close(AbortSignal.abort()),
  };
}

/** Delivers to the user's INBOX and returns the UID. */
export async function deliver(
  services: FakeServices,
  who: Principal,
  message: string | Uint8Array,
): Promise<number> {
  const bytes = Buffer.from(message);
  const request = {
    opId: services.nextOpId(),
    retry: false,
    shard: who.shard,
    deliveryId: services.nextDeliveryId(),
    recipients: [{ account: who.account }],
    source: { kind: "bytes" as const, bytes },
    index: simpleIndex(bytes),
  };
  const [outcome] = await services.store.deliver(request, new AbortController().signal);
  if (outcome?.ok !== true) throw new Error("not delivered");
  return outcome.uid;
}
