// What an account uses and may use. RFC 9208 §2

export interface Quota {
  readonly usedBytes: number;
  readonly usedMessages: number;
  /** 0: unlimited. */
  readonly limitBytes: number;
  readonly limitMessages: number;
}
