// How a command fails: one line for people and an exit status for scripts (sysexits.h numbers where they fit).

import { errorCode } from "../lib/real-disk.ts";
import { isMailError } from "../mail/errors.ts";

/** docs/cli.md has this table. */
export const exitStatus = {
  /** The cluster refused: a name is taken, a check found damage, some lines of an import were refused. */
  failed: 1,
  /** Unknown command or option, missing or wrong argument. */
  usage: 64,
  /** A file that was named can't be read. */
  noInput: 66,
  /** No such user. */
  notFound: 67,
  /** No gateway answers, a port is in use, not enough copies now: try again. */
  unavailable: 69,
  /** Our bug: please report the stack. */
  software: 70,
  /** The admin token is missing or wrong. */
  noPermission: 77,
  /** The configuration can't be used. */
  config: 78,
} as const;

/** A failure that the operator can understand: printed without a stack. */
export class CommandFailure extends Error {
  readonly status: number;
  constructor(message: string, status: number, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandFailure";
    this.status = status;
  }
}

/** Words for a file that can't be read or written. */
export function fileFailure(file: string, error: unknown): CommandFailure {
  const why = error instanceof Error ? error.message : String(error);
  return new CommandFailure(`${file}: ${why}`, exitStatus.noInput, { cause: error });
}

/** No room left, whoever found it out. */
export function isDiskFull(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT" || isMailError(error, "DISK_FULL");
}
