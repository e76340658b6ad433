// How a command fails: one line for people and an exit status for scripts (sysexits.h numbers where they fit).

export const exitStatus = {
  failed: 1,
  usage: 64,
  notFound: 67,
  unavailable: 69,
  software: 70,
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
