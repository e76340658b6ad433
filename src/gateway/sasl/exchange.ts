// One SASL exchange, the same for IMAP, POP3 and submission: bytes of the client in, challenges out,
// a verdict at the end. Base64, replies and limits are the protocol's. RFC 4422 §3

import type { Authenticator, AuthVerdict } from "../../cluster/directory/directory.ts";
import type { ChannelBinding } from "./channel-binding.ts";
import type { SaslMechanism } from "./mechanisms.ts";
import { oauthBearer, xoauth2 } from "./oauth.ts";
import { loginMechanism, plain } from "./passwords.ts";
import { scram } from "./scram.ts";

export interface SaslFacts {
  readonly auth: Authenticator;
  /** The client's, for guess limits. */
  readonly address: string;
  readonly binding: ChannelBinding;
  /** SCRAM-SHA-256-PLUS was offered: a client that says it was not has been lied to. RFC 5802 §6 */
  readonly bindingOffered: boolean;
  readonly signal: AbortSignal;
}

export type SaslStep =
  /** To be sent; the client answers it. */
  | { readonly kind: "challenge"; readonly bytes: Uint8Array }
  /** What came is not of this mechanism: a syntax error, nothing was verified. */
  | { readonly kind: "malformed"; readonly why: string }
  /** Who wanted to act for somebody else. */
  | { readonly kind: "forbidden"; readonly login: string }
  /** `login` is the name as the client gave it, for the log. */
  | { readonly kind: "verdict"; readonly verdict: AuthVerdict; readonly login: string };

export interface SaslExchange {
  /** The client's next response. After anything but a challenge the exchange is over. */
  respond(response: Uint8Array): Promise<SaslStep>;
}

/** `first` is sent when the client gave no initial response; empty for mechanisms in which it speaks first. */
export interface SaslStart {
  readonly first: Uint8Array;
  readonly exchange: SaslExchange;
}

export function startSasl(mechanism: SaslMechanism, facts: SaslFacts): SaslStart {
  switch (mechanism) {
    case "PLAIN":
      return { first: nothing, exchange: plain(facts) };
    case "LOGIN":
      return { first: Buffer.from("Username:"), exchange: loginMechanism(facts) };
    case "SCRAM-SHA-256":
      return { first: nothing, exchange: scram(facts, false) };
    case "SCRAM-SHA-256-PLUS":
      return { first: nothing, exchange: scram(facts, true) };
    case "OAUTHBEARER":
      return { first: nothing, exchange: oauthBearer(facts) };
    case "XOAUTH2":
      return { first: nothing, exchange: xoauth2(facts) };
  }
}

const nothing = new Uint8Array(0);
