// The coordinator of a cluster of several machines: etcd. Conditions are transactions on
// mod_revision, presence is a lease, watches are etcd's own. cluster.md "Coordinator"

import type { IRequestOp, ICompare } from "etcd3";
import { MailError, isMailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import { checkChanges, checkKey, incarnationKey, presenceKey } from "./coordinator.ts";
import type {
  Coordinator,
  KeyChange,
  KeyCondition,
  KeyListing,
  KeyState,
  Registration,
} from "./coordinator.ts";
import { EtcdClient, isLeaseGone } from "./etcd-client.ts";
import type { EtcdClientOptions } from "./etcd-client.ts";
import { listPrefix, watchPrefix } from "./etcd-watch.ts";
import { decodePresence, holdLease } from "./lease.ts";
import type { HeldLease, LeaseHome } from "./lease.ts";

export interface EtcdCoordinatorOptions extends EtcdClientOptions {
  /** All keys begin with this, so that one etcd can serve several clusters. */
  readonly namespace: string;
  /** Random text, other at each call: tells our own registration from a namesake's. */
  readonly nonce: () => string;
}

interface OwnLease {
  readonly member: MemberId;
  readonly id: string;
  readonly nonce: string;
}

const registerTriesMax = 100;

export class EtcdCoordinator implements Coordinator, LeaseHome {
  readonly #client: EtcdClient;
  readonly #namespace: string;
  readonly #nonce: () => string;
  readonly #closing = new AbortController();
  readonly #held = new Set<HeldLease>();
  readonly #leases = new Map<string, OwnLease>();

  constructor(options: EtcdCoordinatorOptions) {
    this.#client = new EtcdClient(options);
    this.#namespace = options.namespace;
    this.#nonce = options.nonce;
  }

  async get(key: string): Promise<KeyState | undefined> {
    checkKey(key);
    return this.#get(key, this.#client.limit());
  }

  async list(prefix: string): Promise<KeyListing> {
    const { revision, pairs } = await listPrefix(
      this.#client,
      { namespace: this.#namespace, prefix },
      this.#client.limit(),
    );
    const entries = pairs.map(({ key, pair }) => ({
      key,
      value: pair.value.toString("utf8"),
      revision: Number(pair.mod_revision),
    }));
    return { revision, entries };
  }

  async readBarrier(): Promise<number> {
    const request = { key: this.#key("barrier"), count_only: true };
    const { header } = await this.#client.repeat(
      ({ kv }) => kv.range(request),
      this.#client.limit(),
    );
    return Number(header.revision);
  }

  async compareAndSet(
    changes: readonly KeyCondition[],
  ): Promise<{ readonly ok: boolean; readonly revision: number }> {
    checkChanges(changes);
    const { ok, revision } = await this.#transact(
      changes,
      changes.map((change) => this.#op(change)),
    );
    return { ok, revision };
  }

  watch(
    prefix: string,
    fromRevision: number,
    signal: AbortSignal,
  ): AsyncGenerator<KeyChange, void, undefined> {
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    const of = { namespace: this.#namespace, prefix };
    return watchPrefix(this.#client, of, fromRevision, ended);
  }

  async register(member: MemberId, ttlMs: number): Promise<Registration> {
    const lease = await holdLease(this, this.#client.clock, member, ttlMs);
    this.#held.add(lease);
    lease.lost.then(
      () => this.#held.delete(lease),
      () => undefined,
    );
    return lease;
  }

  async acquireLease(member: MemberId, ttlMs: number): Promise<number> {
    const limitMs = this.#client.limit();
    // etcd counts whole seconds, and gives more where its own election time-out asks for it.
    const ttl = Math.max(1, Math.ceil(ttlMs / 1000));
    const { ID: id } = await this.#client.repeat(
      ({ leaseClient }) => leaseClient.leaseGrant({ TTL: ttl }),
      limitMs,
    );
    const lease: OwnLease = { member, id, nonce: this.#nonce() };
    const incarnation = await this.#putPresence(lease, ttlMs);
    this.#leases.set(leaseName(member, incarnation), lease);
    return incarnation;
  }

  async renewLease(member: MemberId, incarnation: number): Promise<boolean> {
    const lease = this.#leases.get(leaseName(member, incarnation));
    if (lease === undefined) return false;
    const present = await this.#get(presenceKey(member), this.#client.limit());
    if (decodePresence(present?.value)?.incarnation !== incarnation) {
      this.#leases.delete(leaseName(member, incarnation));
      return false;
    }
    const left = await this.#keepAlive(lease);
    if (left <= 0) this.#leases.delete(leaseName(member, incarnation));
    return left > 0;
  }

  async releaseLease(member: MemberId, incarnation: number): Promise<void> {
    const name = leaseName(member, incarnation);
    const lease = this.#leases.get(name);
    this.#leases.delete(name);
    if (lease === undefined) return;
    try {
      await this.#client.repeat(
        ({ leaseClient }) => leaseClient.leaseRevoke({ ID: lease.id }),
        this.#client.limit(),
      );
    } catch (error) {
      if (!isLeaseGone(error)) throw error;
    }
  }

  /** Ends watches, renewals and the connection. */
  close(): void {
    for (const lease of this.#held) lease.lose("coordinator client closed");
    this.#closing.abort(new MailError({ code: "UNAVAILABLE", why: "this member is stopping" }));
    this.#client.close();
  }

  /** Presence and the next incarnation, in one transaction. */
  async #putPresence({ member, id, nonce }: OwnLease, ttlMs: number): Promise<number> {
    for (let tries = 0; tries < registerTriesMax; tries += 1) {
      const limitMs = this.#client.limit();
      const last = await this.#get(incarnationKey(member), limitMs);
      const present = await this.#get(presenceKey(member), limitMs);
      const incarnation = Number(last?.value ?? "0") + 1;
      const presence = JSON.stringify({ incarnation, ttlMs, nonce });
      const changes = [
        // First: an unknown outcome is told by the key that only we can have written.
        { key: presenceKey(member), ifRevision: present?.revision ?? 0, value: presence },
        {
          key: incarnationKey(member),
          ifRevision: last?.revision ?? 0,
          value: String(incarnation),
        },
      ];
      const leased = { request_put: { key: this.#key(presenceKey(member)), lease: id } };
      const [first, second] = changes.map((change) => this.#op(change));
      const ops = [
        { request_put: { ...first?.request_put, ...leased.request_put } },
        { ...second },
      ];
      if ((await this.#transact(changes, ops)).ok) return incarnation;
    }
    throw new MailError({ code: "BUSY", what: `registration of ${member}` });
  }

  /**
   * One transaction on conditions, with what became of it found out when the answer is lost. A try
   * without an answer may still arrive later, so a refusal after one is ours when the value is.
   */
  async #transact(
    changes: readonly KeyCondition[],
    ops: readonly IRequestOp[],
  ): Promise<{ readonly ok: boolean; readonly revision: number }> {
    const limitMs = this.#client.limit();
    const request = {
      compare: changes.map((change) => this.#condition(change)),
      success: [...ops],
    };
    for (let unknown = false; ; ) {
      try {
        const { succeeded, header } = await this.#client.once(({ kv }) => kv.txn(request));
        const revision = Number(header.revision);
        if (succeeded || !unknown) return { ok: succeeded, revision };
        return (await this.#ours(changes, limitMs)) ?? { ok: false, revision };
      } catch (error) {
        if (!isMailError(error, "UNAVAILABLE")) throw error;
        if (this.#client.closed || this.#client.clock.monotonicMs() >= limitMs) throw error;
        unknown = true;
      }
      await this.#client.pause();
    }
  }

  /** The transaction's revision when every value that it wrote is there as it wrote it. */
  async #ours(
    changes: readonly KeyCondition[],
    limitMs: number,
  ): Promise<{ readonly ok: true; readonly revision: number } | undefined> {
    let revision = 0;
    for (const { key, value } of changes) {
      const state = await this.#get(key, limitMs);
      if (state?.value !== value) return undefined;
      if (revision !== 0 && state?.revision !== undefined && state.revision !== revision) {
        return undefined;
      }
      revision = state?.revision ?? revision;
    }
    return revision === 0 ? undefined : { ok: true, revision };
  }

  async #get(key: string, limitMs: number): Promise<KeyState | undefined> {
    const { kvs } = await this.#client.repeat(
      ({ kv }) => kv.range({ key: this.#key(key) }),
      limitMs,
    );
    const [pair] = kvs;
    if (pair === undefined) return undefined;
    return { value: pair.value.toString("utf8"), revision: Number(pair.mod_revision) };
  }

  /** Seconds that the lease has left after its renewal; 0 when it is gone. */
  async #keepAlive({ id }: OwnLease): Promise<number> {
    return this.#client.once(async ({ leaseClient }) => {
      const stream = await leaseClient.leaseKeepAlive();
      try {
        return await new Promise<number>((resolve, reject) => {
          stream
            .on("data", ({ TTL }) => resolve(Number(TTL)))
            .on("error", reject)
            .on("end", () => reject(new Error("the lease stream ended")));
          const lost = (): void => reject(new Error("no answer to a renewal"));
          this.#client.clock.after(renewMs, lost);
          stream.write({ ID: id });
        });
      } finally {
        stream.cancel();
      }
    });
  }

  #key(key: string): Buffer {
    return Buffer.from(this.#namespace + key, "utf8");
  }

  #condition({ key, ifRevision }: KeyCondition): ICompare {
    return { key: this.#key(key), target: "Mod", result: "Equal", mod_revision: ifRevision };
  }

  #op({ key, value }: KeyCondition): IRequestOp {
    if (value === undefined) return { request_delete_range: { key: this.#key(key) } };
    return { request_put: { key: this.#key(key), value: Buffer.from(value, "utf8") } };
  }
}

const renewMs = 1000;

function leaseName(member: MemberId, incarnation: number): string {
  return `${member} ${incarnation}`;
}
