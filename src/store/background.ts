// Promises whose failure somebody else reports: the caller of the change has its own, this one only
// releases what was held. Nothing is hidden that nobody else would see.

/** Lets `promise` run; its failure is known to whoever waits for the change itself. */
export function background(promise: Promise<unknown>): void {
  promise.catch(() => undefined);
}
