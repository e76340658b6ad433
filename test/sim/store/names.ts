// I8, the directory: what operators know for certain of names, and what every gateway may say of them
// because of it; at the end what nodes and gateways have.

import type { DirectoryRow, NameLookup } from "../../../src/mail/account.ts";
import type { AccountId } from "../../../src/mail/ids.ts";
import type { Machine } from "../world/machine.ts";
import { InvariantViolation } from "../world/violation.ts";

type Knowledge = { readonly kind: "held"; readonly by: AccountId } | { readonly kind: "free" };

interface Name {
  /** What was known last; whether it still holds depends on what is under way. */
  known: Knowledge | undefined;
  /** Orders under way that may give the name to somebody, or take it from its account. */
  claiming: number;
  releasing: number;
  /** Orders of that kind that were begun so far. */
  claims: number;
  releases: number;
  /** An order of that kind has ended with nobody knowing how: it may be carried out any time. */
  claimHaunts: boolean;
  releaseHaunts: boolean;
  /** First mailboxes of accounts that were made with that name. */
  readonly given: First[];
}

interface First {
  readonly account: AccountId;
  readonly uidValidity: number;
  /** The account's order. */
  readonly order: Order;
}

/** One order under way. */
export interface Order {
  /** Whose primary name it is about, if that is known. */
  readonly account: AccountId | undefined;
  readonly primary: string;
  readonly claims: readonly string[];
  /** Grows while others add names to the same account; undefined when none is ever released. */
  readonly releases: string[] | undefined;
  readonly began: Map<string, { readonly claims: number; readonly releases: number }>;
  /** Another order for the same primary name was under way at some time. */
  met: boolean;
  /** Beginnings and ends of orders are counted. */
  readonly from: number;
  until: number;
}

export class NameLedger {
  readonly #names = new Map<string, Name>();
  /** Versions of accounts that every gateway must know, or say that it may be behind. */
  readonly #versions = new Map<AccountId, number>();
  /** What look-ups at each gateway have shown. */
  readonly #shown = new Map<Machine, Map<AccountId, number>>();
  readonly #orders = new Set<Order>();
  #count = 0;
  /** Aliases that were ever asked for with a primary name. */
  readonly #aliases = new Map<string, Set<string>>();

  constructor(names: readonly string[]) {
    for (const name of names) {
      this.#names.set(name, {
        known: { kind: "free" },
        claiming: 0,
        releasing: 0,
        claims: 0,
        releases: 0,
        claimHaunts: false,
        releaseHaunts: false,
        given: [],
      });
    }
  }

  get all(): readonly string[] {
    return [...this.#names.keys()];
  }

  /** Who has the name, surely. */
  holder(name: string): AccountId | undefined {
    const { known, releasing, releaseHaunts } = this.#name(name);
    return known?.kind === "held" && releasing === 0 && !releaseHaunts ? known.by : undefined;
  }

  isFree(name: string): boolean {
    const { known, claiming, claimHaunts } = this.#name(name);
    return known?.kind === "free" && claiming === 0 && !claimHaunts;
  }

  /** Names that an order for this primary name may take from its account. */
  ofPrimary(name: string): readonly string[] {
    return [name, ...(this.#aliases.get(name) ?? [])];
  }

  /** @param drops names that the order may take from its account; undefined: it takes none */
  begin(primary: string, claims: readonly string[], drops?: readonly string[]): Order {
    const account = this.holder(primary);
    const releases = drops ?? [];
    const aliases = this.#aliases.get(primary) ?? new Set();
    for (const claim of claims) if (claim !== primary) aliases.add(claim);
    this.#aliases.set(primary, aliases);
    const began = new Map<string, { claims: number; releases: number }>();
    for (const text of new Set([...claims, ...releases])) {
      const { claims: c, releases: r, claiming, releasing } = this.#name(text);
      const own = {
        claims: claims.includes(text) ? 1 : 0,
        releases: releases.includes(text) ? 1 : 0,
      };
      // One that is under way already counts as begun since.
      began.set(text, {
        claims: claiming > 0 ? -1 : c + own.claims,
        releases: releasing > 0 ? -1 : r + own.releases,
      });
    }
    for (const text of claims) {
      const name = this.#name(text);
      name.claiming += 1;
      name.claims += 1;
    }
    for (const text of releases) this.#releasing(text);
    let met = false;
    for (const other of this.#orders) {
      if (other.primary !== primary) continue;
      met = true;
      other.met = true;
      if (other.releases === undefined) continue;
      for (const text of claims) {
        if (other.claims.includes(text) || other.releases.includes(text)) continue;
        other.releases.push(text);
        other.began.set(text, { claims: -1, releases: -1 });
        this.#releasing(text);
      }
    }
    const from = ++this.#count;
    const until = Number.POSITIVE_INFINITY;
    const own = drops === undefined ? undefined : [...drops];
    const order = { account, primary, claims, releases: own, began, met, from, until };
    this.#orders.add(order);
    return order;
  }

  #releasing(text: string): void {
    const name = this.#name(text);
    name.releasing += 1;
    name.releases += 1;
  }

  /**
   * Nothing was changed; unless others changed the same names meanwhile: then a repetition of what was
   * carried out may have met theirs, and was refused.
   */
  refused(order: Order): void {
    this.#end(order);
    for (const text of [...order.claims, ...(order.releases ?? [])]) {
      const isAlone =
        this.#isAlone(text, order, "claims") && this.#isAlone(text, order, "releases");
      if (order.met || !isAlone) this.#name(text).known = undefined;
    }
  }

  /** Nobody knows what was changed, or will be. */
  unknown(order: Order): void {
    this.#end(order);
    for (const text of order.claims) this.#name(text).claimHaunts = true;
    for (const text of order.releases ?? []) this.#name(text).releaseHaunts = true;
  }

  /** `row` has these names now, and what it does not have of the released ones is nobody's. */
  done(order: Order, row: DirectoryRow | undefined): void {
    this.#end(order);
    const held = row === undefined ? [] : [row.name, ...row.aliases];
    for (const text of order.releases ?? []) {
      if (!held.includes(text)) this.#released(text, order, row?.account ?? order.account);
    }
    if (row === undefined) return;
    this.#versions.set(
      row.account,
      Math.max(row.userVersion, this.#versions.get(row.account) ?? 0),
    );
    for (const text of order.claims) if (held.includes(text)) this.#held(text, order, row.account);
  }

  /** The account's first mailbox was made with it, in this order, under these names. */
  made(order: Order, { account, name, aliases }: DirectoryRow, uidValidity: number): void {
    const first = { account, uidValidity, order };
    for (const text of [name, ...aliases]) {
      const { given } = this.#name(text);
      for (const other of given) {
        inTurn(text, other, first);
        inTurn(text, first, other);
      }
      given.push(first);
    }
  }

  /** A gateway with an empty directory, or one that may be missing something. */
  forget(gateway: Machine): void {
    this.#shown.delete(gateway);
  }

  /** Versions only grow. */
  seen(gateway: Machine, rows: readonly DirectoryRow[]): void {
    const shown = this.#shown.get(gateway) ?? new Map<AccountId, number>();
    this.#shown.set(gateway, shown);
    for (const { account, userVersion } of rows) {
      const before = shown.get(account) ?? 0;
      if (userVersion < before) {
        fail(`${gateway.name} goes from version ${before} of account ${account} to ${userVersion}`);
      }
      shown.set(account, userVersion);
    }
  }

  /** A gateway says what a name is. `fresh`: it says that it knows everything of these shards. */
  looked(
    gateway: Machine,
    text: string,
    found: NameLookup,
    fresh: { readonly name: boolean; readonly row: boolean },
  ): void {
    const holder = this.holder(text);
    const says = `${gateway.name} says`;
    if (found.kind === "none" && holder !== undefined) {
      fail(`${says} that ${text} is nobody's: it is account ${holder}'s`);
    }
    if (found.kind !== "found") return;
    const { account, userVersion } = found.row;
    this.seen(gateway, [found.row]);
    if (!fresh.name || !fresh.row) return;
    if (holder !== undefined && holder !== account) {
      fail(`${says} that ${text} is account ${account}'s: it is ${holder}'s`);
    }
    if (this.isFree(text)) fail(`${says} that ${text} is account ${account}'s: it is nobody's`);
    const version = this.#versions.get(account) ?? 0;
    if (userVersion < version) {
      fail(`${says} version ${userVersion} of account ${account}, after ${version}`);
    }
  }

  #held(text: string, order: Order, account: AccountId): void {
    const name = this.#name(text);
    const before = this.holder(text);
    if (before !== undefined && before !== account && this.#isAlone(text, order, "releases")) {
      fail(`${text} was given to account ${account}, and is account ${before}'s`);
    }
    // What may still take the name from an earlier account does not take it from this one.
    const { known } = name;
    if (known?.kind !== "held" || known.by !== account) name.releaseHaunts = false;
    const isKnown = this.#isAlone(text, order, "releases");
    name.known = isKnown ? { kind: "held", by: account } : undefined;
  }

  #released(text: string, order: Order, account: AccountId | undefined): void {
    const name = this.#name(text);
    const { known } = name;
    const isOwn = text === order.primary || (known?.kind === "held" && known.by === account);
    if (isOwn) name.known = this.#isAlone(text, order, "claims") ? { kind: "free" } : undefined;
    else if (known?.kind === "held" && account === undefined) name.known = undefined;
  }

  /** No order of that kind about the name has been under way since this one began. */
  #isAlone(text: string, { began }: Order, kind: "claims" | "releases"): boolean {
    const name = this.#name(text);
    const own = began.get(text);
    return own !== undefined && own[kind] === name[kind];
  }

  #end(order: Order): void {
    const { claims, releases } = order;
    this.#orders.delete(order);
    order.until = ++this.#count;
    for (const text of claims) this.#name(text).claiming -= 1;
    for (const text of releases ?? []) this.#name(text).releasing -= 1;
  }

  #name(text: string): Name {
    const name = this.#names.get(text);
    if (name === undefined) throw new RangeError(`no name ${text}`);
    return name;
  }
}

/** Whoever gets a name later begins above what it has led to. RFC 9051 §2.3.1.1 */
function inTurn(text: string, first: First, later: First): void {
  if (first.order.until > later.order.from || first.uidValidity < later.uidValidity) return;
  const [a, b] = [first, later].map(
    ({ account, uidValidity }) => `${uidValidity} in account ${account}`,
  );
  fail(`${text} led to UIDVALIDITY ${a}, and after it to ${b}`);
}

function fail(what: string): never {
  throw new InvariantViolation("I8", what);
}
