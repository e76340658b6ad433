// Assertions that stay on in production. A failed one is our bug: it ends the process, and the
// peers take over; nothing may catch AssertionFailure to go on.

export class AssertionFailure extends Error {
  override readonly name = "AssertionFailure";
}

/** Throws AssertionFailure unless `condition` holds. `what` says what should hold. */
export function assert(condition: unknown, what: string): asserts condition {
  if (condition === false || condition === undefined || condition === null) {
    throw new AssertionFailure(what);
  }
}

/** Ends a `switch` over a union: a missing case is a compile error, and a throw at run time. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable: ${JSON.stringify(value)}`);
}
