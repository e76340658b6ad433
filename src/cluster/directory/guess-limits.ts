// Slows down guessing: wrong passwords cost tokens of the client's address and of the account; without
// tokens an attempt waits for the next one, or is turned away when that is too far off. Nobody is
// locked out for good, and not at all from where they logged in before. Counts are this gateway's own.

import { isIPv4, isIPv6 } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Lru } from "../../lib/lru.ts";

export interface GuessLimitOptions {
  /** Wrong passwords a minute; as many are free at once. */
  readonly perMinute: number;
  /** Attempts that would have to wait longer are turned away. */
  readonly delayMaxMs?: number;
  /** Addresses and accounts remembered. */
  readonly most?: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** An attempt that was let in: taken as wrong until `right` is called. */
export interface Attempt {
  /** Wait so long before checking. */
  readonly delayMs: number;
  /** The password was right, or was not checked: gives the tokens back. */
  refund(): void;
  /** From this address the account may log in without regard to others' guesses. */
  trust(): void;
}

export class GuessLimits {
  readonly #options: Required<GuessLimitOptions>;
  readonly #clock: Clock;
  readonly #buckets: Lru<string, Bucket>;
  readonly #trusted: Lru<string, true>;

  constructor(options: GuessLimitOptions, clock: Clock) {
    this.#options = { delayMaxMs: 10_000, most: 50_000, ...options };
    this.#clock = clock;
    this.#buckets = new Lru(this.#options.most);
    this.#trusted = new Lru(this.#options.most);
  }

  /** Undefined: too many wrong passwords lately; try later. `account` is the name that was given. */
  attempt(account: string, address: string): Attempt | undefined {
    const network = networkOf(address);
    const pair = `${network ?? "loopback"} ${account}`;
    const keys: string[] = [];
    if (network !== undefined) {
      keys.push(`address ${network}`);
      if (this.#trusted.get(pair) === undefined) keys.push(`account ${account}`);
    }
    const buckets = keys.map((key) => this.#bucket(key));
    const delayMs = Math.max(0, ...buckets.map((bucket) => this.#delayMs(bucket)));
    if (delayMs > this.#options.delayMaxMs) return undefined;
    for (const bucket of buckets) bucket.tokens--;
    let open = true;
    return {
      delayMs,
      refund: () => {
        if (!open) return;
        open = false;
        for (const bucket of buckets) bucket.tokens++;
      },
      trust: () => this.#trusted.set(pair, true, 1),
    };
  }

  #bucket(key: string): Bucket {
    const nowMs = this.#clock.monotonicMs();
    const { perMinute } = this.#options;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = { tokens: perMinute, atMs: nowMs };
      this.#buckets.set(key, bucket, 1);
    }
    const gained = ((nowMs - bucket.atMs) * perMinute) / 60_000;
    bucket.tokens = Math.min(perMinute, bucket.tokens + gained);
    bucket.atMs = nowMs;
    return bucket;
  }

  /** Until the bucket has a whole token; attempts that wait already have taken theirs. */
  #delayMs(bucket: Bucket): number {
    return bucket.tokens >= 1 ? 0 : ((1 - bucket.tokens) * 60_000) / this.#options.perMinute;
  }
}

/** IPv4 address, /64 of an IPv6 address; undefined for loopback, which is never slowed down. */
export function networkOf(address: string): string | undefined {
  const plain = address.replace(/%.*$/, "");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1] ?? plain;
  if (isIPv4(mapped)) return mapped.startsWith("127.") ? undefined : mapped;
  if (!isIPv6(mapped)) return mapped;
  const [head = "", tail = ""] = mapped.toLowerCase().split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === "" ? [] : tail.split(":");
  const zeros = mapped.includes("::") ? 8 - front.length - back.length : 0;
  const groups = [...front, ...Array.from({ length: zeros }, () => "0"), ...back];
  const numbers = groups.map((group) => Number.parseInt(group, 16));
  if (numbers.slice(0, 7).every((group) => group === 0) && numbers[7] === 1) return undefined;
  return `${numbers
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}
