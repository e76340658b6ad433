// Verifies logins at the gateway from the directory, without the network unless a row may be old.
// Unknown users take the same path as known ones. Protocol answers are the front-ends' business.

import { availableParallelism } from "node:os";
import type { Clock } from "../../lib/clock.ts";
import { withDeadline } from "../../lib/deadline.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { normaliseAddress } from "../../mail/address.ts";
import { isMailError } from "../../mail/errors.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";
import { pause } from "./calls.ts";
import { matchesApp } from "./app-password.ts";
import type { Authenticator, AuthVerdict, Directory, ScramLogin } from "./directory.ts";
import { GuessLimits } from "./guess-limits.ts";
import type { Attempt } from "./guess-limits.ts";
import { HashQueue } from "./hash-queue.ts";
import type { DirectoryLog } from "./log.ts";
import { areOutdated, makeCredentials } from "./make-credentials.ts";
import type { CredentialParameters } from "./make-credentials.ts";
import { hashPassword, verifyPassword } from "./password.ts";
import { madeUpKeys, parseScram } from "./scram-keys.ts";
import type { TokenVerdict, TokenVerifier } from "./token-verifier.ts";
import { VerifiedCache } from "./verified-cache.ts";
import { parseVerifiers } from "./verifiers.ts";

export interface AuthenticatorOptions {
  readonly directory: Directory & { isFresh(shard: ShardId): boolean };
  /** The first completes bare login names. */
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly log: DirectoryLog;
  readonly hash: CredentialParameters;
  /** The same at every gateway: from it comes the salt of names that nobody has. */
  readonly secret: Uint8Array;
  /** Absent: tokens are not taken. */
  readonly tokens?: TokenVerifier;
  /** Password checks that may wait. */
  readonly queueMax: number;
  readonly cache: { readonly most: number; readonly ageMs: number };
  readonly guessesPerMinute: number;
  /** Checks at once; the number of cores when absent. */
  readonly atOnce?: number;
  /** Asks the account's primary for its row. @throws MailError */
  readonly currentRow: (
    row: DirectoryRow,
    signal: AbortSignal,
  ) => Promise<DirectoryRow | undefined>;
  /** Stores a better hash of the same password; failures are only logged. */
  readonly replaceHash?: (row: DirectoryRow, hash: string, signal: AbortSignal) => Promise<void>;
}

const refused = { kind: "refused" } as const;
const incomplete = { kind: "unavailable", why: "the directory is not complete yet" } as const;
const tooMany = { kind: "unavailable", why: "too many wrong passwords, try later" } as const;
const passwordBytesMax = 1024;
const delayedMax = 1000;
const currentRowMs = 2000;
const replaceHashMs = 10_000;

export class DirectoryAuthenticator implements Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #queue: HashQueue;
  readonly #verified: VerifiedCache;
  readonly #guesses: GuessLimits;
  readonly #improving = new Set<AccountId>();
  /** Hash of nobody's password, for names that nobody has. */
  readonly #nobody: Promise<string>;
  #delayed = 0;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#queue = new HashQueue(options.atOnce ?? availableParallelism(), options.queueMax);
    this.#verified = new VerifiedCache(options.cache, options.clock);
    this.#guesses = new GuessLimits({ perMinute: options.guessesPerMinute }, options.clock);
    this.#nobody = hashPassword("nobody's password", options.hash);
    this.#nobody.catch(() => undefined); // Told to each login that needs it.
  }

  /** Gauges: checks waiting for a core, logins held back after wrong guesses, credentials remembered. */
  get figures(): { readonly waiting: number; readonly delayed: number; readonly verified: number } {
    return {
      waiting: this.#queue.waiting,
      delayed: this.#delayed,
      verified: this.#verified.size,
    };
  }

  async verify(
    login: string,
    password: string,
    address: string,
    signal: AbortSignal,
  ): Promise<AuthVerdict> {
    const name = this.#nameOf(login);
    const found = name === undefined ? undefined : this.#options.directory.lookupNow(name);
    if (found?.kind === "unsure") {
      return { kind: "unavailable", why: "the directory is not complete yet" };
    }
    const row = found?.kind === "found" && mayLogIn(found.row, name ?? "") ? found.row : undefined;
    if (row !== undefined && this.#verified.has(row, password)) return verdictOf(row);
    const attempt = this.#guesses.attempt(row?.name ?? name ?? login.slice(0, 400), address);
    if (attempt === undefined) {
      return { kind: "unavailable", why: "too many wrong passwords, try later" };
    }
    try {
      return await this.#checked(row, password, attempt, signal);
    } catch (error) {
      attempt.refund();
      if (!isMailError(error)) throw error;
      return { kind: "unavailable", why: error.message };
    }
  }

  async scram(login: string, address: string, signal: AbortSignal): Promise<ScramLogin> {
    const found = this.#find(login);
    if (found === undefined) return incomplete;
    const { row, name } = found;
    const attempt = this.#guesses.attempt(name, address);
    if (attempt === undefined) return tooMany;
    if (attempt.delayMs > 0 && !(await this.#heldBack(attempt.delayMs, signal))) {
      attempt.refund();
      return tooMany;
    }
    const { secret, hash } = this.#options;
    const kept = row === undefined ? undefined : parseVerifiers(row.credentials.hash).scram;
    const keys = kept === undefined ? undefined : parseScram(kept);
    return {
      kind: "keys",
      keys: keys ?? madeUpKeys(secret, name, hash.scramIterations),
      settle: (right) => {
        if (!right || row === undefined || keys === undefined) return refused;
        attempt.refund();
        attempt.trust();
        return verdictOf(row);
      },
    };
  }

  async verifyToken(
    login: string | undefined,
    token: string,
    address: string,
    signal: AbortSignal,
  ): Promise<AuthVerdict> {
    const { tokens } = this.#options;
    if (tokens === undefined) return refused;
    const known = tokens.known(token);
    const verdict =
      known === undefined
        ? await this.#unknownToken(tokens, token, address, signal)
        : ({ kind: "ok", login: known } as const);
    if (verdict.kind !== "ok") return verdict;
    const found = this.#find(verdict.login);
    if (found === undefined) return incomplete;
    // RFC 7628 §3.2.2: a token lets nobody in as somebody else.
    const claimed = login === undefined ? found : this.#find(login);
    if (found.row === undefined || claimed?.row?.account !== found.row.account) return refused;
    return verdictOf(found.row);
  }

  /**
   * Guesses count against the address alone: whose a wrong token is nobody knows. A name for all
   * addresses would let one of them use up the guesses of everybody.
   */
  async #unknownToken(
    tokens: TokenVerifier,
    token: string,
    address: string,
    signal: AbortSignal,
  ): Promise<TokenVerdict> {
    const attempt = this.#guesses.attempt(`bearer token from ${address}`, address);
    if (attempt === undefined) return tooMany;
    if (attempt.delayMs > 0 && !(await this.#heldBack(attempt.delayMs, signal))) {
      attempt.refund();
      return tooMany;
    }
    const verdict = await tokens.verify(token, signal);
    if (verdict.kind !== "refused") attempt.refund();
    return verdict;
  }

  /** Undefined: the directory can't say yet. The name is what guesses are counted by. */
  #find(login: string): { readonly name: string; readonly row?: DirectoryRow } | undefined {
    const name = this.#nameOf(login);
    if (name === undefined) return { name: login.slice(0, 400) };
    const found = this.#options.directory.lookupNow(name);
    if (found.kind === "unsure") return undefined;
    if (found.kind === "none" || !mayLogIn(found.row, name)) return { name };
    return { name: found.row.name, row: found.row };
  }

  async #checked(
    row: DirectoryRow | undefined,
    password: string,
    attempt: Attempt,
    signal: AbortSignal,
  ): Promise<AuthVerdict> {
    if (attempt.delayMs > 0 && !(await this.#heldBack(attempt.delayMs, signal))) {
      attempt.refund();
      return tooMany;
    }
    if (Buffer.byteLength(password) > passwordBytesMax) return refused;
    const right = await this.#matches(row, password, signal);
    if (row === undefined) return refused;
    const current = right ? row : await this.#corrected(row, password, signal);
    if (current === undefined || current.state === "deleted") return refused;
    attempt.refund();
    attempt.trust();
    this.#verified.add(current, password);
    this.#improve(current, password);
    return verdictOf(current);
  }

  /** The same work whether there is such a user or not. */
  async #matches(
    row: DirectoryRow | undefined,
    password: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { password: hash, apps } = parseVerifiers(row?.credentials.hash ?? (await this.#nobody));
    if (matchesApp(apps, password)) return true;
    const matches = await this.#queue.run(() => verifyPassword(hash, password), signal);
    return matches && row !== undefined;
  }

  /** A wrong password by a row that may be old: its primary knows whether it was changed. */
  async #corrected(
    row: DirectoryRow,
    password: string,
    signal: AbortSignal,
  ): Promise<DirectoryRow | undefined> {
    if (this.#options.directory.isFresh(row.shard)) return undefined;
    const { clock, currentRow } = this.#options;
    const current = await withDeadline(clock, currentRowMs, [signal], (within) =>
      currentRow(row, within),
    );
    if (current === undefined || current.credVersion <= row.credVersion) return undefined;
    return (await this.#matches(current, password, signal)) ? current : undefined;
  }

  async #heldBack(delayMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#delayed >= delayedMax) return false;
    this.#delayed++;
    try {
      await pause(this.#options.clock, delayMs, signal);
    } finally {
      this.#delayed--;
    }
    return !signal.aborted;
  }

  /** Replaces an imported or weak hash, now that the password is known; in the background. */
  #improve(row: DirectoryRow, password: string): void {
    const { replaceHash, hash, log } = this.#options;
    if (replaceHash === undefined || !areOutdated(row.credentials.hash, hash)) return;
    if (this.#improving.has(row.account) || this.#improving.size >= 4) return;
    const { apps } = parseVerifiers(row.credentials.hash);
    if (matchesApp(apps, password)) return; // Not the account's own.
    this.#improving.add(row.account);
    const replace = async (signal: AbortSignal): Promise<void> => {
      const better = await this.#queue.run(() => makeCredentials(password, hash, apps), signal);
      await replaceHash(row, better, signal);
    };
    withDeadline(this.#options.clock, replaceHashMs, [], replace)
      .catch((error: unknown) => log.info({ err: error, name: row.name }, "hash not replaced yet"))
      .finally(() => this.#improving.delete(row.account));
  }

  #nameOf(login: string): string | undefined {
    if (login.includes("@")) return normaliseAddress(login);
    const [domain] = this.#options.domains;
    return domain === undefined ? undefined : normaliseAddress(`${login}@${domain}`);
  }
}

/** A catch-all receives mail, and so does a group; they are nobody's login. */
function mayLogIn(row: DirectoryRow, name: string): boolean {
  return row.group === undefined && (row.name === name || row.aliases.includes(name));
}

/** After a right password only: who doesn't know it learns nothing of the account. */
function verdictOf(row: DirectoryRow): AuthVerdict {
  if (row.state === "deleted") return refused;
  return row.state === "disabled" ? { kind: "disabled" } : { kind: "ok", row };
}
