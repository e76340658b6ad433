// The way to etcd: one client at a time, thrown away at the first sign of a dead connection, since
// a half-open one looks alive for minutes. Repeats what may be repeated.

import { noop } from "cockatiel";
import type { Etcd3, IOptions } from "etcd3";
import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";

export interface EtcdEndpoints {
  /** `host:port` or URLs of the etcd servers, all of one etcd cluster. */
  readonly hosts: readonly string[];
  /** PEM. Without it the servers are spoken to in plain text. */
  readonly tls?: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly auth?: { readonly username: string; readonly password: string };
}

export interface EtcdClientOptions extends EtcdEndpoints {
  readonly clock: Clock;
  /** A request that has no answer by then, all repeats included, is UNAVAILABLE. */
  readonly timeoutMs?: number;
}

const timeoutMsDefault = 5000;
/** One try; then the connection is taken for dead and another is made. */
const tryMs = 1000;
const pauseMs = 50;

export class EtcdClient {
  readonly clock: Clock;
  readonly #options: IOptions;
  readonly #timeoutMs: number;
  readonly #streams = new Set<() => void>();
  #client: Etcd3 | undefined;
  #closed = false;

  constructor(options: EtcdClientOptions) {
    const { hosts, tls, auth, clock } = options;
    this.clock = clock;
    this.#timeoutMs = options.timeoutMs ?? timeoutMsDefault;
    this.#options = {
      hosts: hosts.map((host) => withScheme(host, tls !== undefined)),
      ...(tls === undefined ? {} : { credentials: credentials(tls) }),
      ...(auth === undefined ? {} : { auth: { ...auth } }),
      // A repeat behind our back would hide that a first try may have been carried out.
      faultHandling: { host: () => noop, global: noop },
      defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + tryMs }),
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** When a request that begins now is given up. Monotonic ms. */
  limit(): number {
    return this.clock.monotonicMs() + this.#timeoutMs;
  }

  /** One try. @throws {MailError} UNAVAILABLE: it may have been carried out or not. */
  async once<T>(run: (client: Etcd3) => Promise<T>): Promise<T> {
    const client = await this.#open();
    try {
      return await run(client);
    } catch (cause) {
      // A refusal by etcd itself (a lost lease, a compacted revision) is the caller's to read.
      if (isRefusal(cause)) throw cause;
      this.drop(client);
      throw new MailError({ code: "UNAVAILABLE", why: "etcd can't be reached" }, { cause });
    }
  }

  /** As `once`, repeated until `limitMs`: for requests that may be carried out twice. */
  async repeat<T>(run: (client: Etcd3) => Promise<T>, limitMs: number): Promise<T> {
    for (;;) {
      try {
        return await this.once(run);
      } catch (error) {
        if (isRefusal(error) || this.#closed || this.clock.monotonicMs() >= limitMs) throw error;
      }
      await this.pause();
    }
  }

  pause(): Promise<void> {
    return new Promise((resolve) => {
      this.clock.after(pauseMs, resolve);
    });
  }

  /** Runs `end` when the present connection is given up, as streams on it may be half-open. */
  onDrop(end: () => void): () => void {
    this.#streams.add(end);
    return () => this.#streams.delete(end);
  }

  /** The next request makes a new connection, unless another request has already seen to it. */
  drop(client: Etcd3): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    client.close();
    for (const end of this.#streams) end();
  }

  close(): void {
    this.#closed = true;
    if (this.#client !== undefined) this.drop(this.#client);
  }

  async #open(): Promise<Etcd3> {
    // Loaded when it is used: members with the embedded coordinator do without gRPC.
    const { Etcd3: Client } = await import("etcd3");
    if (this.#closed) throw new MailError({ code: "UNAVAILABLE", why: "this member is stopping" });
    this.#client ??= new Client(this.#options);
    return this.#client;
  }
}

const refusals = new Set(["EtcdLeaseInvalidError", "GRPCOutOfRangeError", "GRPCNotFoundError"]);

function isRefusal(error: unknown): boolean {
  return error instanceof Error && refusals.has(error.constructor.name);
}

/** True when etcd says that a lease is gone. */
export function isLeaseGone(error: unknown): boolean {
  const name = error instanceof Error ? error.constructor.name : "";
  return name === "EtcdLeaseInvalidError" || name === "GRPCNotFoundError";
}

/** True when etcd says that a revision is compacted or never was. */
export function isRevisionGone(error: unknown): boolean {
  return error instanceof Error && error.constructor.name === "GRPCOutOfRangeError";
}

function withScheme(host: string, secure: boolean): string {
  return host.includes("://") ? host : `${secure ? "https" : "http"}://${host}`;
}

function credentials(tls: NonNullable<EtcdEndpoints["tls"]>): NonNullable<IOptions["credentials"]> {
  return {
    rootCertificate: tls.ca,
    ...(tls.key === undefined ? {} : { privateKey: tls.key }),
    ...(tls.cert === undefined ? {} : { certChain: tls.cert }),
  };
}
