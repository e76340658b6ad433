// What a POP3 session is between two events, the events that move it and the effects it asks for,
// with the few steps that all its commands share. The commands are in authorization.ts and
// transaction.ts, the way from an event to them in session.ts.

import type { MailFailure } from "../../mail/errors.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import type { SaslMechanism } from "../sasl/mechanisms.ts";
import type { GroupOutcome, Maildrop, MaildropContents } from "./maildrop.ts";

/** What the listener decided for this connection; `tls` changes with STLS. */
export interface Pop3Facts {
  readonly tls: boolean;
  readonly tlsAvailable: boolean;
  /** Passwords may be sent without TLS from this address. */
  readonly plaintextLogin: boolean;
  /** What `auth.mechanisms` allows. */
  readonly mechanisms: readonly SaslMechanism[];
  readonly hostName: string;
  readonly badCommandsMax: number;
}

export interface Pop3State {
  readonly facts: Pop3Facts;
  readonly badCommands: number;
  /** From USER until PASS. */
  readonly user?: string;
  /** An AUTH exchange waits for the client's next line. */
  readonly inSasl?: true;
  /** Present from the login on: the TRANSACTION state. */
  readonly maildrop?: Maildrop;
  readonly ended: boolean;
}

export type Pop3Event =
  /** A line without its line end. */
  | { readonly kind: "line"; readonly bytes: Uint8Array }
  | { readonly kind: "tooLong" }
  | { readonly kind: "loggedIn"; readonly contents: MaildropContents }
  | { readonly kind: "refused" }
  /** The AUTH exchange goes on. */
  | { readonly kind: "challenge"; readonly bytes: Uint8Array }
  | { readonly kind: "malformed"; readonly why: string }
  /** Who wanted to act for another user. */
  | { readonly kind: "forbidden" }
  | { readonly kind: "failed"; readonly failure: MailFailure }
  /** A whole message went out. */
  | { readonly kind: "retrieved"; readonly number: number }
  | { readonly kind: "updated" }
  | { readonly kind: "updateFailed"; readonly failure: MailFailure }
  /** The maildrop is no longer this session's: end with a word, delete nothing. */
  | { readonly kind: "lost"; readonly failure: MailFailure }
  /** The listener closes: end with a word, delete nothing. */
  | { readonly kind: "shutdown" };

export type Pop3Effect =
  /** One line, without its CRLF. */
  | { readonly kind: "reply"; readonly line: string }
  /** `first`, then the lines, then the dot. */
  | { readonly kind: "lines"; readonly first: string; readonly lines: Iterable<string> }
  /** Answered with `loggedIn`, `refused` or `failed`. */
  | { readonly kind: "login"; readonly user: string; readonly password: string }
  /** Begins an AUTH exchange; answered as a login, or with `challenge`, `malformed` or `forbidden`. */
  | {
      readonly kind: "startSasl";
      readonly mechanism: SaslMechanism;
      readonly initial?: Uint8Array;
    }
  /** The client's next response in it; answered likewise. */
  | { readonly kind: "continueSasl"; readonly response: Uint8Array }
  /**
   * The message itself under `first`; `bodyLines` absent: all of it, answered with `retrieved`.
   * When it can't be read, answered with `failed` and nothing sent.
   */
  | {
      readonly kind: "message";
      readonly number: number;
      readonly first: string;
      readonly bodyLines?: number;
    }
  /** Deletes, marks seen, frees the maildrop; answered with `updated` or `updateFailed`. */
  | {
      readonly kind: "update";
      readonly deleted: UidSet;
      readonly seen: UidSet;
      /** Of groups; removing hides for this user alone. */
      readonly groups: readonly GroupOutcome[];
    }
  /** Forget what was read ahead, then shake hands. */
  | { readonly kind: "startTls" }
  | { readonly kind: "close" };

export type Pop3Step = readonly [Pop3State, readonly Pop3Effect[]];

/** A command line after its verb: the rest as it stands, and its words. */
export interface Pop3Command {
  readonly verb: string;
  readonly rest: string;
  readonly words: readonly string[];
}

export function reply(line: string): Pop3Effect {
  return { kind: "reply", line };
}

/** A refusal that counts towards the limit; the last one ends the connection. */
export function bad(state: Pop3State, line: string): Pop3Step {
  const badCommands = state.badCommands + 1;
  if (badCommands >= state.facts.badCommandsMax) {
    return end(state, `-ERR ${state.facts.badCommandsMax} bad commands are the limit, closing`);
  }
  return [{ ...state, badCommands }, [reply(line)]];
}

/** The last word of a connection. */
export function end(state: Pop3State, line: string): Pop3Step {
  return [{ ...state, ended: true }, [reply(line), { kind: "close" }]];
}

/** The state without a half-done login. */
export function withoutLogin({ facts, badCommands, ended }: Pop3State): Pop3State {
  return { facts, badCommands, ended };
}
