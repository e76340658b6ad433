// The shard table and the members as this process knows them: a copy of the coordinator's keys, kept
// up by watching. Answers without the network; `refresh` asks again when someone knows better.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import { DecodeError } from "../../lib/decode.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Coordinator } from "../coordinator/coordinator.ts";
import type { AddressBook, MemberAddress } from "../link/address-book.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { KeyFollower } from "./follow-keys.ts";
import { decodeMember, decodeShardConfig, memberPrefix, shardPrefix } from "./shard-codec.ts";
import type { MemberRecord } from "./shard-codec.ts";

export interface TableOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What those who route by the table ask of it. */
export type KnownShards = Pick<ShardTable, "get" | "all" | "onChange" | "refresh">;

export class ShardTable {
  readonly #options: TableOptions;
  readonly #configs = new Map<ShardId, ShardConfig>();
  /** Revisions of the keys whose configs are held; without one it was learnt otherwise. */
  readonly #revisions = new Map<ShardId, number>();
  readonly #listeners = new Set<(config: ShardConfig) => void>();
  readonly #stop = new AbortController();
  #follower: KeyFollower | undefined;
  #refreshing: Promise<void> | undefined;

  private constructor(options: TableOptions) {
    this.#options = options;
  }

  /** Resolves after one linearizable read of the table. @throws {MailError} UNAVAILABLE */
  static async open(options: TableOptions): Promise<ShardTable> {
    const table = new ShardTable(options);
    table.#follower = await KeyFollower.start({
      ...options,
      prefix: shardPrefix,
      onKey: (key, value, revision) => table.#onKey(key, value, revision),
      signal: table.#stop.signal,
    });
    return table;
  }

  get(shard: ShardId): ShardConfig | undefined {
    return this.#configs.get(shard);
  }

  /** All configs, by shard. */
  all(): readonly ShardConfig[] {
    return [...this.#configs.values()].toSorted((a, b) => a.shard - b.shard);
  }

  /** How many shards the cluster has; names hash into 0..count-1. */
  get count(): number {
    return this.#configs.size;
  }

  /** Revision of the shard's key if it still holds what `get` gives; undefined when not known. */
  revisionOf(shard: ShardId): number | undefined {
    return this.#revisions.get(shard);
  }

  /** The newest revision that a config held here has. */
  get revision(): number {
    return Math.max(0, ...this.#revisions.values());
  }

  /** A committed config, told by its writer: the watch brings it too, later. */
  learn(config: ShardConfig, revision?: number): void {
    if ((this.#configs.get(config.shard)?.epoch ?? 0) >= config.epoch) return;
    this.#configs.set(config.shard, config);
    if (revision === undefined) this.#revisions.delete(config.shard);
    else this.#revisions.set(config.shard, revision);
    for (const listener of this.#listeners) listener(config);
  }

  /** Runs at each new epoch of a shard; returns a function that removes the listener. */
  onChange(listener: (config: ShardConfig) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads the table again; calls meanwhile share one read. Never rejects: the watch goes on anyway. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh();
    return this.#refreshing;
  }

  close(): void {
    this.#stop.abort();
  }

  async #refresh(): Promise<void> {
    try {
      await this.#follower?.refresh();
    } catch (error) {
      this.#options.logger.debug({ err: error }, "shard table not refreshed");
    } finally {
      this.#refreshing = undefined;
    }
  }

  #onKey(key: string, value: string | undefined, revision: number): void {
    if (value === undefined) {
      this.#options.logger.error({ key }, "shard vanished from the table");
      return;
    }
    const config = decodeOrWarn(this.#options.logger, key, () => decodeShardConfig(value));
    if (config === undefined) return;
    this.learn(config, revision);
    if (this.#configs.get(config.shard)?.epoch === config.epoch) {
      this.#revisions.set(config.shard, revision);
    }
  }
}

/** Members as they registered, and where their links listen. */
export class MemberTable implements AddressBook {
  readonly #options: TableOptions;
  readonly #members = new Map<MemberId, MemberRecord>();
  readonly #listeners = new Set<(member: MemberId) => void>();
  readonly #stop = new AbortController();

  private constructor(options: TableOptions) {
    this.#options = options;
  }

  /** @throws {MailError} UNAVAILABLE */
  static async open(options: TableOptions): Promise<MemberTable> {
    const table = new MemberTable(options);
    await KeyFollower.start({
      ...options,
      prefix: memberPrefix,
      onKey: (key, value) => table.#onKey(key, value),
      signal: table.#stop.signal,
    });
    return table;
  }

  get(member: MemberId): MemberRecord | undefined {
    return this.#members.get(member);
  }

  all(): readonly MemberRecord[] {
    return [...this.#members.values()];
  }

  addressOf(member: MemberId): MemberAddress | undefined {
    return this.#members.get(member);
  }

  onChange(listener: (member: MemberId) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stop.abort();
  }

  #onKey(key: string, value: string | undefined): void {
    if (value === undefined) {
      for (const { member } of this.all()) {
        if (key !== memberPrefix + member) continue;
        this.#members.delete(member);
        for (const listener of this.#listeners) listener(member);
      }
      return;
    }
    const record = decodeOrWarn(this.#options.logger, key, () => decodeMember(value));
    if (record === undefined) return;
    if ((this.#members.get(record.member)?.incarnation ?? 0) > record.incarnation) return;
    this.#members.set(record.member, record);
    for (const listener of this.#listeners) listener(record.member);
  }
}

function decodeOrWarn<T>(logger: Logger, key: string, decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    logger.error({ key, err: error }, "value in the coordinator is not understood");
    return undefined;
  }
}
