// How much of everything a run measures.

export interface BenchSize {
  /** Seconds per delivery scenario. */
  readonly seconds: number;
  /** Messages in the large mailbox. */
  readonly messages: number;
  readonly idle: number;
  /** Only the scenarios that a smoke run wants. */
  readonly brief: boolean;
  /** Only the figures whose name matches. */
  readonly only: RegExp;
}
