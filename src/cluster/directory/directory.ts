// The gateway's replica of the user summaries (paper DS3, DS4): all rows in LevelDB, hot ones in RAM.
// Answers without the network; says `unsure` rather than a wrong `none`.

import type { AccountId } from "../../mail/ids.ts";
import type { DirectoryRow, NameLookup } from "../../mail/account.ts";
import type { ScramKeys } from "./scram-keys.ts";

export interface Directory {
  /**
   * Looks up a normalised address (`local@domain`), an alias, or a catch-all of its domain: at once,
   * as names are in RAM. `+tag` is cut by the caller (mail/address.ts) before.
   */
  lookupNow(name: string): NameLookup;
  byAccount(account: AccountId): Promise<DirectoryRow | undefined>;
}

/** Verdict on a password. `unavailable`: the directory or the hash queue can't tell now: try later. */
export type AuthVerdict =
  | { readonly kind: "ok"; readonly row: DirectoryRow }
  | { readonly kind: "refused" }
  | { readonly kind: "disabled" }
  | { readonly kind: "unavailable"; readonly why: string };

export interface Authenticator {
  /**
   * Verifies a login name (bare names are completed with the first domain) and password, locally.
   * Unknown users cost the same time as known ones. `address` is the client's, for guess limits.
   */
  verify(
    login: string,
    password: string,
    address: string,
    signal: AbortSignal,
  ): Promise<AuthVerdict>;
  /**
   * What a SCRAM exchange needs, at the same cost for names that nobody has: their keys fit no
   * password. An exchange that ends must be settled. RFC 5802 §5
   */
  scram(login: string, address: string, signal: AbortSignal): Promise<ScramLogin>;
  /**
   * Verifies a bearer token of the identity provider; `login` is who the client says it is, if it
   * does. RFC 7628 §3
   */
  verifyToken(
    login: string | undefined,
    token: string,
    address: string,
    signal: AbortSignal,
  ): Promise<AuthVerdict>;
}

export type ScramLogin =
  | {
      readonly kind: "keys";
      readonly keys: ScramKeys;
      /** Tells whether the client's proof was right. @returns the verdict on the login */
      readonly settle: (right: boolean) => AuthVerdict;
    }
  | { readonly kind: "unavailable"; readonly why: string };
