// The listening end: accepts links, checks who speaks, sees to it that a member has one link per
// purpose, and hands requests to the registry. Leaves the answering itself to answerer.ts.

import type { AddressInfo, Server, Socket } from "node:net";
import type { Logger } from "pino";
import type { AssertionFailure } from "../../lib/assert.ts";
import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import { Answerer } from "./answerer.ts";
import { FrameError, frameBytesMax, frameType } from "./frame.ts";
import type { FrameType } from "./frame.ts";
import { decodeHello, encodeHello, helloBytesMax, refusal } from "./hello.ts";
import type { Hello, SelfDescription } from "./hello.ts";
import { Link, LinkCounters, defaultLinkLimits } from "./link.ts";
import type { LinkContext, LinkLimits } from "./link.ts";
import { Ticker } from "./link-manager.ts";
import { exposedReason, renewCredentials, serve, strangerReason } from "./link-security.ts";
import type { LinkSecurity } from "./link-security.ts";
import type { MethodRegistry } from "./registry.ts";
import { packValue } from "./wire-value.ts";

export interface LinkServerOptions {
  readonly self: SelfDescription;
  readonly registry: MethodRegistry;
  readonly security: LinkSecurity;
  readonly clock: Clock;
  readonly log: Logger;
  /** This member's load figures; sent with replies, at most once per 50 ms and link. Paper §4.1 */
  readonly loadFigures?: () => unknown;
  readonly limits?: Partial<LinkLimits>;
  /** Connections at once, greeted or not. */
  readonly linksMax?: number;
  readonly onFrame?: (direction: "in" | "out", type: FrameType, bytes: number) => void;
  /** A member has linked to us, so it is alive: a good moment to dial it. */
  readonly onGreeted?: (member: MemberId) => void;
  /** What a failed assertion in a handler does; by default it is thrown where nothing catches it. */
  readonly fatal?: (error: AssertionFailure) => void;
}

const linksMaxDefault = 1024;
const loadsEveryMs = 50;

export class LinkServer {
  readonly counters = new LinkCounters();
  readonly #options: LinkServerOptions;
  readonly #context: LinkContext;
  readonly #links = new Set<AcceptedLink>();
  /** The newest link of each member and purpose; kept after its end, to know late ones. */
  readonly #newest = new Map<string, { hello: Hello; link: AcceptedLink }>();
  #server: Server | undefined;
  #ticker: Ticker | undefined;

  constructor(options: LinkServerOptions) {
    this.#options = options;
    this.#context = {
      clock: options.clock,
      limits: { ...defaultLinkLimits, ...options.limits },
      counters: this.counters,
      ...(options.onFrame === undefined ? {} : { onFrame: options.onFrame }),
    };
  }

  /** The port, once listening. */
  get port(): number {
    const address = this.#server?.address();
    return isAddressInfo(address) ? address.port : 0;
  }

  /** Members with a greeted link now. */
  get members(): readonly MemberId[] {
    return [...this.#links].flatMap((link) =>
      link.hello === undefined ? [] : [link.hello.member],
    );
  }

  /** Starts listening. Rejects with the system's error (EADDRINUSE, EACCES, …). */
  async listen(address: { readonly host: string; readonly port: number }): Promise<void> {
    const server = serve(this.#options.security, (socket) => this.#accept(socket));
    server.on("tlsClientError", (error: Error) => {
      this.#options.log.warn({ why: error.message }, "link refused in the TLS handshake");
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.host, port: address.port, exclusive: true }, () => {
        server.off("error", reject);
        resolve();
      });
    });
    server.on("error", (error) => {
      this.#options.log.error({ err: error }, "link listener failed");
    });
    this.#server = server;
    this.#ticker = new Ticker(this.#options.clock, (nowMs, late) => {
      for (const link of this.#links) link.tick(nowMs, late);
    });
  }

  /** After certificates were replaced: links that are open stay. */
  reloadCredentials(): void {
    if (this.#server !== undefined) renewCredentials(this.#server, this.#options.security);
  }

  /** Stops listening and ends all links; handlers' signals abort. */
  async close(): Promise<void> {
    this.#ticker?.stop();
    for (const link of this.#links) link.end("this member is stopping");
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }

  #accept(socket: Socket): void {
    const exposed = this.#options.security.kind === "plaintext" ? exposedReason(socket) : undefined;
    const full = this.#links.size >= (this.#options.linksMax ?? linksMaxDefault);
    if (exposed !== undefined || full) {
      const why = exposed ?? "too many links";
      this.#options.log.warn({ from: socket.remoteAddress, why }, "link refused");
      socket.on("error", () => undefined);
      socket.destroy();
      return;
    }
    const link: AcceptedLink = new AcceptedLink(socket, this.#context, this.#options, {
      onHello: (hello) => this.#admit(link, hello),
      onClose: () => this.#links.delete(link),
    });
    this.#links.add(link);
  }

  /** Why the link is refused, or undefined; then an older link of the same member is dead already. */
  #admit(link: AcceptedLink, hello: Hello): string | undefined {
    const key = `${hello.purpose} ${hello.member}`;
    const newest = this.#newest.get(key);
    if (newest !== undefined) {
      if (isLate(hello, newest.hello)) return "a newer link of this member exists";
      // Before any request of the new link is read: a late first try must not run after its retry.
      newest.link.destroy("replaced by a newer link");
    }
    this.#newest.set(key, { hello, link });
    this.#options.onGreeted?.(hello.member);
    return undefined;
  }
}

/** One accepted connection, from HELLO to its end. */
class AcceptedLink {
  readonly #link: Link;
  readonly #context: LinkContext;
  readonly #options: LinkServerOptions;
  readonly #socket: Socket;
  readonly #onHello: (hello: Hello) => string | undefined;
  #answerer: Answerer | undefined;
  #hello: Hello | undefined;
  #loadsSentMs = -Infinity;

  constructor(
    socket: Socket,
    context: LinkContext,
    options: LinkServerOptions,
    events: {
      readonly onHello: (hello: Hello) => string | undefined;
      readonly onClose: () => void;
    },
  ) {
    this.#socket = socket;
    this.#context = context;
    this.#options = options;
    this.#onHello = events.onHello;
    const greeting = context.clock.after(context.limits.greetingMs, () => {
      if (this.#hello === undefined) this.destroy("no greeting in time");
    });
    this.#link = new Link(
      socket,
      context,
      { dialled: false, frameBytesMax: helloBytesMax },
      {
        onFrame: (type, id, head, body) => this.#receive(type, id, head, body),
        onClose: (reason) => {
          greeting.cancel();
          this.#closed(reason);
          events.onClose();
        },
      },
    );
  }

  get hello(): Hello | undefined {
    return this.#hello;
  }

  tick(nowMs: number, late: boolean): void {
    this.#link.tick(nowMs, late);
  }

  destroy(reason: string): void {
    this.#link.destroy(reason);
  }

  end(reason: string): void {
    this.#link.end(reason);
  }

  #receive(type: FrameType, id: number, head: Uint8Array, body: Uint8Array | undefined): void {
    if (this.#answerer !== undefined) {
      this.#answerer.receive(type, id, head, body);
      return;
    }
    if (type !== frameType.hello) throw new FrameError("first frame is not HELLO");
    const hello = decodeHello(head);
    const { self, security } = this.#options;
    const why =
      refusal(hello, { cluster: self.cluster, wire: self.wire }) ??
      strangerReason(this.#socket, security, self.cluster, hello.member) ??
      this.#onHello(hello);
    if (why === undefined) this.#greet(hello);
    else this.#refuse(hello, why);
  }

  #greet(hello: Hello): void {
    const { self, registry, log, fatal } = this.#options;
    const link = this.#link;
    this.#hello = hello;
    this.#answerer = new Answerer(link, {
      from: hello.member,
      registry,
      limits: this.#context.limits,
      log: log.child({ peer: hello.member }),
      loads: () => this.#loads(),
      fatal: fatal ?? throwUncaught,
    });
    link.acceptFrames(frameBytesMax);
    const { purpose, boot, serial } = hello;
    const answer = encodeHello(
      {
        cluster: self.cluster,
        member: self.member,
        role: self.role,
        incarnation: self.incarnation(),
        purpose,
        boot,
        serial,
      },
      self.wire,
    );
    link.write(frameType.hello, 0, answer);
    this.#context.counters.up += 1;
    this.#context.counters.opened += 1;
    log.info({ peer: hello.member, role: hello.role, purpose: hello.purpose }, "link accepted");
  }

  #refuse(hello: Hello, why: string): void {
    this.#options.log.warn(
      { peer: hello.member, from: this.#socket.remoteAddress, why },
      "link refused",
    );
    this.#link.write(
      frameType.error,
      0,
      packValue(new MailError({ code: "INVALID", why }).failure),
    );
    this.#link.end(why);
  }

  #closed(reason: string): void {
    const hello = this.#hello;
    if (hello !== undefined) {
      this.#context.counters.up -= 1;
      this.#options.log.info({ peer: hello.member, why: reason }, "accepted link ended");
      this.#answerer?.close(`link from ${hello.member} broke: ${reason}`);
      this.#hello = undefined;
    } else if (reason.startsWith("malformed")) {
      this.#options.log.warn(
        { from: this.#socket.remoteAddress, why: reason },
        "connection is no member link",
      );
    }
  }

  #loads(): unknown {
    const figures = this.#options.loadFigures;
    if (figures === undefined) return undefined;
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#loadsSentMs < loadsEveryMs) return undefined;
    this.#loadsSentMs = nowMs;
    return figures();
  }
}

/** True for a link that was dialled before `newest`, however late its HELLO comes. */
function isLate(hello: Hello, newest: Hello): boolean {
  if (hello.boot === newest.boot) return hello.serial <= newest.serial;
  const bothKnown = hello.incarnation > 0 && newest.incarnation > 0;
  return bothKnown && hello.incarnation < newest.incarnation;
}

function throwUncaught(error: AssertionFailure): void {
  setImmediate(() => {
    throw error;
  });
}

function isAddressInfo(address: AddressInfo | string | null | undefined): address is AddressInfo {
  return typeof address === "object" && address !== null;
}
