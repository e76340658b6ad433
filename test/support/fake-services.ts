// GatewayServices over the fake mail store, so that a front-end can listen on port 0 in a unit test
// without a cluster: directory, passwords in plain text, a silent log, counted ids.

import type { SecureContext } from "node:tls";
import { pino } from "pino";
import type { Logger } from "pino";
import type { Authenticator, Directory } from "../../src/cluster/directory/directory.ts";
import type { GatewayServices } from "../../src/gateway/services.ts";
import { systemClock } from "../../src/lib/clock.ts";
import type { Clock } from "../../src/lib/clock.ts";
import type { DirectoryRow, NameLookup } from "../../src/mail/account.ts";
import { deliveryId, opId } from "../../src/mail/ids.ts";
import type { AccountId } from "../../src/mail/ids.ts";
import { FakeMailStore } from "./fake-mail-store.ts";
import type { FakeAccount } from "./fake/account.ts";

export interface FakeServicesOptions {
  readonly store?: FakeMailStore;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly domains?: readonly string[];
  readonly secureContext?: SecureContext;
  /** Default: yes, as in `pabal dev` on loopback. */
  readonly plaintextLogin?: boolean;
}

/** Services of which a test may reach into the store and decide what directory and passwords say. */
export interface FakeServices extends GatewayServices {
  readonly store: FakeMailStore;
  /** When true, the directory answers `unsure` and the authenticator `unavailable`. */
  outage: boolean;
}

/** Makes services with their own empty store unless one is given; accounts are added on the store. */
export function fakeServices(options: FakeServicesOptions = {}): FakeServices {
  const domains = options.domains ?? ["pabal.test"];
  const store = options.store ?? new FakeMailStore();
  let opCount = 0;
  let deliveryCount = 0;
  const services: FakeServices = {
    store,
    outage: false,
    directory: fakeDirectory(store, () => services.outage),
    auth: fakeAuthenticator(store, domains[0] ?? "", () => services.outage),
    clock: options.clock ?? systemClock,
    log: options.log ?? pino({ level: "silent" }),
    hostName: `mail.${domains[0]}`,
    domains,
    secureContext: () => options.secureContext,
    nextOpId: () => opId((++opCount).toString(16).padStart(32, "0")),
    // Of a time that is not yet: what a confirmed delivery repeats is new mail.
    nextDeliveryId: () => deliveryId(`7ZZ${String(++deliveryCount).padStart(23, "0")}`),
    saslMechanisms: ["PLAIN", "LOGIN"],
    plaintextLoginAllowed: () => options.plaintextLogin ?? true,
  };
  return services;
}

function fakeDirectory(store: FakeMailStore, outage: () => boolean): Directory {
  return {
    lookupNow(name): NameLookup {
      if (outage()) return { kind: "unsure" };
      const row = accountNamed(store, name)?.row;
      return row === undefined ? { kind: "none" } : { kind: "found", row };
    },
    byAccount(account: AccountId): Promise<DirectoryRow | undefined> {
      return Promise.resolve(store.accounts.get(account)?.row);
    },
  };
}

function fakeAuthenticator(
  store: FakeMailStore,
  domain: string,
  outage: () => boolean,
): Authenticator {
  return passwordsOnly((login, password) => {
    if (outage()) return Promise.resolve({ kind: "unavailable", why: "outage in a test" });
    const name = login.normalize("NFC").toLowerCase();
    const account = accountNamed(store, name.includes("@") ? name : `${name}@${domain}`);
    if (account === undefined || account.password !== password) {
      return Promise.resolve({ kind: "refused" });
    }
    if (account.row.state === "disabled") return Promise.resolve({ kind: "disabled" });
    return Promise.resolve({ kind: "ok", row: account.row });
  });
}

/** An authenticator that knows neither SCRAM nor tokens. */
export function passwordsOnly(verify: Authenticator["verify"]): Authenticator {
  return {
    verify,
    scram: () => Promise.resolve({ kind: "unavailable", why: "not in this test" }),
    verifyToken: () => Promise.resolve({ kind: "refused" }),
  };
}

/** The account with this name or alias; overQuota as it is now. */
function accountNamed(store: FakeMailStore, name: string): FakeAccount | undefined {
  return [...store.accounts.values()].find(
    ({ row }) => row.state !== "deleted" && (row.name === name || row.aliases.includes(name)),
  );
}
