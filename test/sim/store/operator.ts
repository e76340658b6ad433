// Operators of a cluster with the real store: each makes, changes and removes accounts through its
// gateway, one order after the other, all of them the same few names.

import type { DirectoryRow } from "../../../src/mail/account.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { describeRow } from "./describe.ts";
import { domain } from "./gate.ts";
import type { Gate, Identity } from "./gate.ts";
import type { NameLedger, Order } from "./names.ts";
import { OneByOne } from "./one-by-one.ts";
import type { StoreCluster } from "./world.ts";

export const primaryNames = ["ada", "bob", "cyd", "dan"].map((local) => `${local}@${domain}`);
export const aliasNames = ["info", "sales", "news"].map((local) => `${local}@${domain}`);

/** Of nobody's password: nobody logs in. */
const knownHash =
  "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const never = new AbortController().signal;
/** After these nothing was changed, and will not be. */
const refusals = ["NAME_TAKEN", "NO_SUCH_ACCOUNT", "CONFLICT"];

export class Operator extends OneByOne {
  readonly #names: NameLedger;
  readonly #gate: Gate;

  constructor(world: StoreCluster, names: NameLedger, gate: Gate) {
    super(world, gate.gateway);
    this.#names = names;
    this.#gate = gate;
  }

  protected begin(): Promise<unknown> | undefined {
    const { identity } = this.#gate;
    return identity === undefined ? undefined : this.#act(identity);
  }

  async #act({ admin }: Identity): Promise<void> {
    const { draws } = this.world;
    const name = draws.pick(primaryNames) ?? "";
    const aliases = aliasNames.filter(() => draws.chance(0.3));
    const others = this.#names.ofPrimary(name).filter((one) => one !== name);
    const at = draws.below(100);
    if (at < 40) {
      const account = { name, aliases, hash: knownHash };
      const order = this.#names.begin(name, [name, ...aliases]);
      const row = await this.#settle(`create ${name}`, order, () => admin.create(account, never));
      if (row !== undefined) await this.#look(order, row);
    } else if (at < 60) {
      const drops = others.filter((one) => !aliases.includes(one));
      const order = this.#names.begin(name, aliases, drops);
      await this.#settle(`change ${name}`, order, () => admin.update(name, { aliases }, never));
    } else if (at < 75) {
      const order = this.#names.begin(name, []);
      const patch = { quotaMessages: 1 + draws.below(1000) };
      await this.#settle(`patch ${name}`, order, () => admin.update(name, patch, never));
    } else {
      const order = this.#names.begin(name, [], this.#names.ofPrimary(name));
      await this.#settle(`remove ${name}`, order, () => admin.remove(name, never));
    }
  }

  async #settle(
    what: string,
    order: Order,
    run: () => Promise<DirectoryRow | void>,
  ): Promise<DirectoryRow | undefined> {
    const { name: at } = this.gateway.machine;
    this.world.trace(() => `${at} operator: ${what} ${order.claims.join(" ")}`);
    try {
      const row = (await run()) ?? undefined;
      this.world.trace(
        () => `${at} operator: ${what} is done: ${row === undefined ? "gone" : describeRow(row)}`,
      );
      this.#names.done(order, row);
      this.world.acks += 1;
      return row;
    } catch (error) {
      if (!isMailError(error)) throw error;
      this.world.trace(() => `${at} operator: ${what} failed: ${error.message}`);
      if (refusals.includes(error.code)) this.#names.refused(order);
      else this.#names.unknown(order);
      return undefined;
    }
  }

  /** The account is there, under a UIDVALIDITY that its names have not seen. */
  async #look(order: Order, row: DirectoryRow): Promise<void> {
    const { account, shard, credVersion } = row;
    try {
      const who = { account, shard, credVersion };
      const { uidValidity } = await this.#gate.store.mailboxStatus(who, "INBOX", never);
      this.#names.made(order, row, uidValidity);
      this.world.reads += 1;
    } catch (error) {
      // Somebody may have removed it.
      if (!isMailError(error)) throw error;
    }
  }
}
