// The form of a command: one file each in commands/, one row each in command-table.ts. Parsing is
// pure and ends before anything happens; `run` acts and gives the tagged reply.

import { assert } from "../../lib/assert.ts";
import type { Reply } from "./reply.ts";
import type { Selected } from "./selected.ts";
import type { Session, SessionState } from "./session.ts";
import type { Cursor } from "./syntax/cursor.ts";

/**
 * What the client is told of its mailbox before the tagged reply: nothing, all but EXPUNGE
 * (RFC 9051 §7.5.1), all, or all after asking the store for news.
 */
export type SyncKind = "none" | "noExpunge" | "all" | "poll";

interface CommandSpec<Args> {
  /** Upper case; `UID FETCH` for the UID form. */
  readonly name: string;
  readonly states: readonly SessionState[];
  /** `all` when absent. */
  readonly sync?: SyncKind;
  /** May take long, and writes nothing before it is done. RFC 9585 */
  readonly silent?: boolean;
  /** What a missing mailbox is answered with. */
  readonly missing?: "TRYCREATE";
  /** Parses the arguments, from the space behind the name to the end. Faults stay in the cursor. */
  readonly parse: (cursor: Cursor, session: Session) => Args;
  readonly run: (session: Session, args: Args) => Promise<Reply>;
}

export interface Command {
  readonly name: string;
  readonly states: readonly SessionState[];
  readonly sync: SyncKind;
  readonly silent: boolean;
  readonly missing: "TRYCREATE" | "NONEXISTENT";
  /** Parses, and gives what is to be run if the cursor has no fault. */
  readonly plan: (cursor: Cursor, session: Session) => () => Promise<Reply>;
}

export const anyState: readonly SessionState[] = ["unauthenticated", "authenticated", "selected"];
export const loggedIn: readonly SessionState[] = ["authenticated", "selected"];
export const onlySelected: readonly SessionState[] = ["selected"];
export const notLoggedIn: readonly SessionState[] = ["unauthenticated"];

/** Makes a table row of a command; its argument type stays inside. */
export function command<Args>(spec: CommandSpec<Args>): Command {
  return {
    name: spec.name,
    states: spec.states,
    sync: spec.sync ?? "all",
    silent: spec.silent ?? false,
    missing: spec.missing ?? "NONEXISTENT",
    plan(cursor, session) {
      const args = spec.parse(cursor, session);
      return () => spec.run(session, args);
    },
  };
}

/** Arguments of a command that has none. */
export function noArguments(cursor: Cursor): undefined {
  cursor.end();
  return undefined;
}

/** The selected mailbox, for commands that run only in the selected state. */
export function selectedOf(session: Session): Selected {
  assert(session.selected !== undefined, "a mailbox is selected");
  return session.selected;
}
