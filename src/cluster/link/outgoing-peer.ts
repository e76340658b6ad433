// Our end of the persistent link to one other member: dials while the address is known, greets,
// reconnects with growing pauses, and is the Peer that the rest of the code calls.

import type { Socket } from "node:net";
import type { Logger } from "pino";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import { MailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import type { AddressBook, MemberAddress } from "./address-book.ts";
import { Caller } from "./caller.ts";
import { FrameError, frameBytesMax, frameType } from "./frame.ts";
import { decodeHello, encodeHello, helloBytesMax, refusal } from "./hello.ts";
import type { LinkPurpose, SelfDescription } from "./hello.ts";
import { Link } from "./link.ts";
import type { LinkContext } from "./link.ts";
import { dial, strangerReason } from "./link-security.ts";
import type { LinkSecurity } from "./link-security.ts";
import type { CallOptions, Peer, RpcReply } from "./rpc.ts";
import { decodeFailure, unpackValue } from "./wire-value.ts";

export interface PeerOptions extends LinkContext {
  readonly self: SelfDescription;
  readonly purpose: LinkPurpose;
  readonly addresses: AddressBook;
  readonly security: LinkSecurity;
  readonly clock: Clock;
  readonly log: Logger;
  /** Random text of this process start. */
  readonly boot: string;
  /** Grows with every link this process dials. */
  readonly nextSerial: () => number;
  readonly random: Random;
  readonly onLoads: (loads: unknown) => void;
}

const firstPauseMs = 50;
/** Whoever does not answer may be back at any time, and others wait for that. */
const longestPauseMs = 500;
/** Whoever refuses us needs an operator. */
const refusedPauseMs = 2000;
/** A link that lived so long was a good one: the next pause is short again. */
const provenMs = 1000;

export class OutgoingPeer implements Peer {
  readonly id: MemberId;
  readonly #options: PeerOptions;
  readonly #listeners = new Set<(up: boolean) => void>();
  #link: Link | undefined;
  #address: MemberAddress | undefined;
  /** Set while greeted. */
  #caller: Caller | undefined;
  #upSinceMs = 0;
  #pauseMs = firstPauseMs;
  #retry: Timer | undefined;
  #downWhy = "not connected yet";
  #closed = false;
  #refusedWhy: string | undefined;

  constructor(id: MemberId, options: PeerOptions) {
    this.id = id;
    this.#options = options;
    this.#dial();
  }

  get up(): boolean {
    return this.#caller !== undefined;
  }

  /** Why there is no link now; for status and errors. */
  get downReason(): string | undefined {
    return this.up ? undefined : this.#downWhy;
  }

  get inFlight(): number {
    return this.#caller?.inFlight ?? 0;
  }

  get outputBytes(): number {
    return this.#link?.outputBytes ?? 0;
  }

  call(method: string, head: unknown, options: CallOptions): Promise<RpcReply> {
    const caller = this.#caller;
    if (caller === undefined) return Promise.reject(this.#down());
    const deadlineMs = options.deadlineMs ?? this.#options.limits.callDeadlineMs;
    return caller.call(method, head, options, this.#options.clock.monotonicMs() + deadlineMs);
  }

  stream(method: string, head: unknown, options: CallOptions): AsyncIterable<RpcReply> {
    return {
      [Symbol.asyncIterator]: (): AsyncIterator<RpcReply> => {
        const caller = this.#caller;
        if (caller !== undefined) return caller.stream(method, head, options);
        return { next: () => Promise.reject(this.#down()) };
      },
    };
  }

  upload(
    method: string,
    head: unknown,
    chunks: AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal },
  ): Promise<RpcReply> {
    const caller = this.#caller;
    if (caller === undefined) return Promise.reject(this.#down());
    return caller.upload(method, head, chunks, options.signal);
  }

  send(method: string, head: unknown, body?: Uint8Array): void {
    this.#caller?.send(method, head, body);
  }

  onChange(listener: (up: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tick(nowMs: number, late: boolean): void {
    this.#link?.tick(nowMs, late);
    this.#caller?.tick(nowMs);
  }

  /** The address book changed: another address means another link, at once. */
  addressChanged(): void {
    const address = this.#options.addresses.addressOf(this.id);
    const same = address?.host === this.#address?.host && address?.port === this.#address?.port;
    if (same && this.#link !== undefined) return;
    this.#pauseMs = firstPauseMs;
    if (this.#link !== undefined) this.#link.destroy("address changed");
    else this.#dial();
  }

  /** The member is alive, it has just linked to us: no use in waiting out the pause. */
  wake(): void {
    if (this.#link === undefined) this.#dial();
  }

  close(why: string): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#link?.destroy(why);
  }

  #down(): MailError {
    return new MailError({
      code: "UNAVAILABLE",
      why: `no link to ${this.id}: ${this.#downWhy}`,
    });
  }

  #dial(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    if (this.#closed || this.#link !== undefined) return;
    const address = this.#options.addresses.addressOf(this.id);
    this.#address = address;
    if (address === undefined) {
      this.#downWhy = "address unknown";
      return;
    }
    this.#refusedWhy = undefined;
    const socket = dial(address, this.#options.security, () => this.#greet(link, socket));
    const link = new Link(
      socket,
      this.#options,
      { dialled: true, frameBytesMax: helloBytesMax },
      {
        onFrame: (type, id, head, body) => {
          const caller = this.#caller;
          if (caller !== undefined) caller.receive(type, id, head, body);
          else this.#answered(link, socket, type, head);
        },
        onClose: (reason) => {
          greeting.cancel();
          this.#lost(link, reason);
        },
      },
    );
    const greeting = this.#options.clock.after(this.#options.limits.greetingMs, () => {
      if (!this.up) link.destroy("no greeting in time");
    });
    this.#link = link;
  }

  #greet(link: Link, socket: Socket): void {
    const { self, security, purpose, boot } = this.#options;
    const stranger = strangerReason(socket, security, self.cluster, this.id);
    if (stranger !== undefined) {
      this.#refuse(link, stranger);
      return;
    }
    const hello = encodeHello(
      {
        cluster: self.cluster,
        member: self.member,
        role: self.role,
        incarnation: self.incarnation(),
        purpose,
        boot,
        serial: this.#options.nextSerial(),
      },
      self.wire,
    );
    link.write(frameType.hello, 0, hello);
  }

  /** The first frame that comes back. @throws {FrameError} */
  #answered(link: Link, socket: Socket, type: number, head: Uint8Array): void {
    const { self, security, log, clock, counters } = this.#options;
    if (type === frameType.error) {
      const failure = decodeFailure(unpackValue(head));
      this.#refuse(link, failure.code === "INVALID" ? failure.why : failure.code);
      return;
    }
    if (type !== frameType.hello) throw new FrameError("first frame is not HELLO");
    const hello = decodeHello(head);
    const why =
      refusal(hello, { cluster: self.cluster, member: this.id, wire: self.wire }) ??
      strangerReason(socket, security, self.cluster, hello.member);
    if (why !== undefined) {
      this.#refuse(link, why);
      return;
    }
    link.acceptFrames(frameBytesMax);
    this.#caller = new Caller(link, this.#options.limits, this.#options.onLoads);
    this.#upSinceMs = clock.monotonicMs();
    counters.up += 1;
    counters.opened += 1;
    log.info({ peer: this.id, incarnation: hello.incarnation }, "link up");
    this.#tell(true);
  }

  #refuse(link: Link, why: string): void {
    this.#refusedWhy = why;
    this.#options.log.warn(
      { peer: this.id, host: this.#address?.host, port: this.#address?.port, why },
      "link refused",
    );
    link.destroy(why);
  }

  #lost(link: Link, reason: string): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    const why = this.#refusedWhy ?? reason;
    this.#downWhy = why;
    const caller = this.#caller;
    this.#caller = undefined;
    this.#planDial();
    if (caller === undefined) {
      this.#options.log.debug({ peer: this.id, why }, "link not made");
      return;
    }
    this.#options.counters.up -= 1;
    this.#options.log.info({ peer: this.id, why }, "link down");
    caller.close(`link to ${this.id} broke: ${why}`);
    this.#tell(false);
  }

  #planDial(): void {
    if (this.#closed) return;
    const { clock, random } = this.#options;
    if (this.#caller === undefined && this.#upSinceMs > 0) {
      const proven = clock.monotonicMs() - this.#upSinceMs >= provenMs;
      if (proven) this.#pauseMs = firstPauseMs;
      this.#upSinceMs = 0;
    }
    const pauseMs = this.#pauseMs * (0.5 + random.u32() / 2 ** 33);
    const longestMs = this.#refusedWhy === undefined ? longestPauseMs : refusedPauseMs;
    this.#pauseMs = Math.min(longestMs, this.#pauseMs * 2);
    this.#retry = clock.after(pauseMs, () => this.#dial());
  }

  #tell(up: boolean): void {
    for (const listener of this.#listeners) listener(up);
  }
}
