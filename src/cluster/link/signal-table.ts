// Requests by the AbortSignal that cancels them: one listener a signal however many requests share it,
// as adding and removing listeners is dear, and long-lived signals are shared by thousands.

interface Entry {
  readonly ids: Set<number>;
  readonly listener: () => void;
}

export class SignalTable {
  readonly #onAbort: (id: number, reason: unknown) => void;
  readonly #entries = new Map<AbortSignal, Entry>();

  constructor(onAbort: (id: number, reason: unknown) => void) {
    this.#onAbort = onAbort;
  }

  /** Signals that are listened to. */
  get size(): number {
    return this.#entries.size;
  }

  add(signal: AbortSignal, id: number): void {
    let entry = this.#entries.get(signal);
    if (entry === undefined) {
      entry = { ids: new Set(), listener: () => this.#abort(signal) };
      this.#entries.set(signal, entry);
      signal.addEventListener("abort", entry.listener, { once: true });
    }
    entry.ids.add(id);
  }

  remove(signal: AbortSignal, id: number): void {
    const entry = this.#entries.get(signal);
    if (entry === undefined || !entry.ids.delete(id) || entry.ids.size > 0) return;
    this.#entries.delete(signal);
    signal.removeEventListener("abort", entry.listener);
  }

  #abort(signal: AbortSignal): void {
    const entry = this.#entries.get(signal);
    this.#entries.delete(signal);
    for (const id of entry?.ids ?? []) this.#onAbort(id, signal.reason);
  }
}
