// What every member has of the cluster: links, the coordinator, presence there, the tables of members
// and shards. Node and gateway are built on it (mail-node.ts, gateway-cluster.ts).

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import type { Coordinator, Registration } from "../coordinator/coordinator.ts";
import { RemoteCoordinator } from "../coordinator/remote.ts";
import { MemoryAddressBook } from "../link/address-book.ts";
import type { MemberAddress } from "../link/address-book.ts";
import { LinkManager } from "../link/link-manager.ts";
import { LinkServer } from "../link/link-server.ts";
import type { LinkSecurity } from "../link/link-security.ts";
import { MethodRegistry } from "../link/registry.ts";
import type { Pulse, PulseOptions } from "../pulse/pulse.ts";
import { pause } from "./follow-keys.ts";
import { writeMember } from "./init-cluster.ts";
import { memberPattern, ownWire } from "../link/hello.ts";
import type { WireRange } from "../link/hello.ts";
import { pulseKeys } from "./pulse-key.ts";
import type { MemberRecord } from "./shard-codec.ts";
import { MemberTable, ShardTable } from "./shard-table.ts";
import { assert } from "../../lib/assert.ts";

/** Another member's link (TCP) and pulse (UDP), as one member sees them. */
export interface MemberRoute {
  readonly link?: MemberAddress;
  readonly pulse?: MemberAddress;
}

export interface ClusterOptions {
  readonly clusterId: string;
  readonly member: MemberId;
  /** In tests only: to be taken for a program of another version. */
  readonly wire?: WireRange;
  readonly failureDomain: string;
  /** Where links are accepted; port 0 takes any. */
  readonly listen: MemberAddress;
  /** What the others dial, where that is not the address listened on. */
  readonly advertise?: Partial<MemberAddress>;
  /** Where others are reached, when that is not what they announce. */
  readonly routes?: ReadonlyMap<MemberId, MemberRoute>;
  readonly security: LinkSecurity;
  readonly coordinator:
    | { readonly kind: "remote"; readonly member: MemberId; readonly address: MemberAddress }
    | {
        readonly kind: "given";
        readonly coordinator: Coordinator;
        /** Runs when this member closes: for a coordinator that is the member's own client. */
        readonly close?: () => void;
      };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Presence in the coordinator ends this long after the process does; 5 s by default. */
  readonly presenceMs?: number;
  /** Another process with this member id has started: this one must stop. */
  readonly onReplaced: () => void;
  /**
   * Heartbeats, leases and the ring. Without it nothing fails over: single processes and tests.
   * `onFailed`: it has ended, and with it this member's leases.
   */
  readonly pulse?: {
    readonly start: (options: PulseOptions) => Promise<Pulse>;
    /** UDP; the number of the link's port when absent. */
    readonly listen?: MemberAddress;
    /** What the others send to, where that is not the port listened on. */
    readonly advertisedPort?: number;
    readonly onFailed: (error: Error) => void;
  };
}

const retryMs = 200;

export class ClusterClient {
  readonly options: ClusterOptions;
  readonly registry = new MethodRegistry();
  readonly links: LinkManager;
  readonly coordinator: Coordinator;
  readonly #addresses = new MemoryAddressBook();
  readonly #role: MemberRecord["role"];
  readonly #stop = new AbortController();
  #registration: Registration | undefined;
  #incarnation = 0;
  /** What the others were told of this process. */
  #announced: MemberRecord | undefined;
  #server: LinkServer | undefined;
  #pulse: Pulse | undefined;
  #members: MemberTable | undefined;
  #shards: ShardTable | undefined;

  constructor(options: ClusterOptions, role: MemberRecord["role"]) {
    assert(memberPattern.test(options.member), "a member id has its form");
    this.options = options;
    this.#role = role;
    const { coordinator: at, clock, logger, random, security } = options;
    if (at.kind === "remote") this.#addresses.set(at.member, at.address);
    const addresses = this.#addresses;
    this.links = new LinkManager({
      self: this.#self,
      addresses,
      security,
      clock,
      log: logger,
      random,
    });
    this.coordinator =
      at.kind === "given"
        ? at.coordinator
        : new RemoteCoordinator({ peer: this.links.peer(at.member), clock });
  }

  /** Number of this process start; known after `join`. */
  get incarnation(): number {
    return this.#incarnation;
  }

  /** True once the tables were read. */
  get isReady(): boolean {
    return this.#shards !== undefined;
  }

  get members(): MemberTable {
    assert(this.#members !== undefined, "the tables are read before they are used");
    return this.#members;
  }

  get shards(): ShardTable {
    assert(this.#shards !== undefined, "the tables are read before they are used");
    return this.#shards;
  }

  /** Heartbeats, leases, ring; undefined when this member was given none. */
  get pulse(): Pulse | undefined {
    return this.#pulse;
  }

  /** The newest version of the wire format that this member speaks. */
  get wireVersion(): number {
    return (this.options.wire ?? ownWire).version;
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Registers in the coordinator, as soon as it can be reached. */
  async join(signal: AbortSignal): Promise<void> {
    const { member, presenceMs } = this.options;
    const registration = await this.#reach(
      () => this.coordinator.register(member, presenceMs ?? 5000),
      signal,
    );
    this.#registration = registration;
    this.#incarnation = registration.incarnation;
    this.#keepPresence(registration).then(
      () => undefined,
      (error: unknown) => this.options.logger.error({ err: error }, "presence is no longer kept"),
    );
    await this.#startPulse(signal);
  }

  /** Accepts links. All methods are registered by now. */
  async listen(loadFigures: () => unknown): Promise<void> {
    const { security, clock, logger, listen } = this.options;
    const server = new LinkServer({
      self: this.#self,
      registry: this.registry,
      security,
      clock,
      log: logger,
      loadFigures,
      onGreeted: (member) => this.links.wake(member),
    });
    await server.listen(listen);
    this.#server = server;
  }

  /** Tells the others where we are, and reads where they are and who holds what. */
  async announce(facts: Pick<MemberRecord, "store">, signal: AbortSignal): Promise<void> {
    const { member, failureDomain, listen, advertise } = this.options;
    const record: MemberRecord = {
      member,
      role: this.#role,
      host: advertise?.host ?? listen.host,
      port: advertise?.port ?? this.port,
      failureDomain,
      incarnation: this.#incarnation,
      wire: this.wireVersion,
      ...(this.#pulse === undefined
        ? {}
        : { pulse: this.options.pulse?.advertisedPort ?? this.#pulse.port }),
      ...facts,
    };
    this.#announced = record;
    await this.#reach(() => writeMember(this.coordinator, this.#present(record)), signal);
    await this.look(signal);
  }

  /** Reads where the others are and who holds what; alone, without `join`, for tools of a stopped member. */
  async look(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.options;
    const options = { coordinator: this.coordinator, clock, logger };
    this.#members = await this.#reach(() => MemberTable.open(options), signal);
    for (const { member: other } of this.#members.all()) this.#learn(other);
    this.#members.onChange((other) => {
      this.#learn(other);
      this.#setPeers();
    });
    this.#setPeers();
    this.#shards = await this.#reach(() => ShardTable.open(options), signal);
  }

  /** Stops accepting and ends all links; presence ends at once. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#shards?.close();
    this.#members?.close();
    try {
      await this.#registration?.release();
    } catch (error) {
      this.options.logger.debug({ err: error }, "presence not released, it will run out");
    }
    await this.#server?.close();
    await this.#pulse?.stop();
    if (this.coordinator instanceof RemoteCoordinator) this.coordinator.close();
    const { coordinator: at } = this.options;
    if (at.kind === "given") at.close?.();
    this.links.close();
  }

  get #self() {
    const { clusterId: cluster, member, wire = ownWire } = this.options;
    return { cluster, member, role: this.#role, wire, incarnation: () => this.#incarnation };
  }

  /** The UDP port may be taken where the link's was free: then any will do, as it is announced. */
  async #startPulse(signal: AbortSignal): Promise<void> {
    const { pulse, clusterId, member, listen, clock, random, logger } = this.options;
    if (pulse === undefined) return;
    const keys = await this.#reach(() => pulseKeys(this.coordinator, random), signal);
    const role = this.#role === "gateway" ? "gateway" : "node";
    const incarnation = this.#incarnation;
    const at = pulse.listen ?? listen;
    const options = { clusterId, member, role, incarnation, keys, clock } as const;
    try {
      this.#pulse = await pulse.start({ ...options, listen: at });
    } catch (error) {
      if (pulse.listen !== undefined) throw error;
      logger.warn({ err: error, port: at.port }, "UDP port is taken, another one is used");
      this.#pulse = await pulse.start({ ...options, listen: { host: at.host, port: 0 } });
    }
    this.#pulse.onEvent((event) => {
      if (event.kind === "failed") pulse.onFailed(event.error);
      if (event.kind === "clockJump") logger.warn({ gapMs: event.gapMs }, "the clock jumped");
    });
  }

  /** Everyone else with a pulse. */
  #setPeers(): void {
    this.#pulse?.setPeers(
      this.members.all().flatMap(({ member, role, host, pulse: port, incarnation }) => {
        if (member === this.options.member || port === undefined) return [];
        if (role !== "gateway" && role !== "node") return [];
        const at = this.options.routes?.get(member)?.pulse ?? { host, port };
        return [{ member, role, ...at, incarnation }];
      }),
    );
  }

  #learn(other: MemberId): void {
    const { coordinator: at, member, routes } = this.options;
    // The coordinator's address is the configuration's: without it no table could be read.
    if (other === member || (at.kind === "remote" && other === at.member)) return;
    const address = routes?.get(other)?.link ?? this.members.addressOf(other);
    if (address !== undefined) this.#addresses.set(other, address);
  }

  /** Tries again while the coordinator is away: until then this member can't know what it may serve. */
  async #reach<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      signal.throwIfAborted();
      try {
        return await run();
      } catch (error) {
        if (!isMailError(error, "UNAVAILABLE") && !isMailError(error, "BUSY")) throw error;
        if (tries % 25 === 0) {
          this.options.logger.warn({ err: error }, "waiting for the coordinator");
        }
        await pause(this.options.clock, retryMs, signal);
      }
    }
  }

  /** Registers again after a coordinator's absence; gives way to another process of the same name. */
  async #keepPresence(first: Registration): Promise<void> {
    const { signal } = this.#stop;
    const { member, presenceMs, logger } = this.options;
    for (let registration = first; ; ) {
      const reason = await registration.lost;
      if (signal.aborted) return;
      logger.warn({ reason }, "presence lost");
      const record = this.#members?.get(member);
      if (record !== undefined && record.incarnation > this.#incarnation) {
        this.options.onReplaced();
        return;
      }
      registration = await this.#reach(
        () => this.coordinator.register(member, presenceMs ?? 5000),
        signal,
      );
      this.#registration = registration;
      // What is announced later says it by itself.
      const announced = this.#announced;
      if (announced === undefined) continue;
      try {
        await this.#reach(() => writeMember(this.coordinator, this.#present(announced)), signal);
      } catch (error) {
        if (!isMailError(error, "CONFLICT")) throw error;
        logger.warn({ err: error }, "presence is another process's");
      }
    }
  }

  /** The record with the number of the registration that presence stands for by now. */
  #present(record: MemberRecord): MemberRecord {
    const presence = this.#registration?.incarnation ?? record.incarnation;
    return presence === record.incarnation ? record : { ...record, presence };
  }
}
