// A TCP relay from one member to another that can hold either direction: bytes wait and go on when the
// network heals, as TCP makes of a cut. Neither end hears of the other's close meanwhile: half-open.

import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Which directions do not pass now. */
export interface Held {
  readonly forth: boolean;
  readonly back: boolean;
}

export class LinkRelay {
  readonly #server: Server;
  readonly #targetPort: () => number | undefined;
  readonly #passages = new Set<Passage>();
  #held: Held = { forth: false, back: false };

  /** @param targetPort asked at each connection; undefined: nobody listens there yet. */
  static async start(targetPort: () => number | undefined): Promise<LinkRelay> {
    const relay = new LinkRelay(targetPort);
    await new Promise<void>((resolve) => {
      relay.#server.listen({ host: "127.0.0.1", port: 0 }, resolve);
    });
    return relay;
  }

  private constructor(targetPort: () => number | undefined) {
    this.#targetPort = targetPort;
    this.#server = createServer({ pauseOnConnect: true }, (near) => this.#accept(near));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  hold(held: Held): void {
    this.#held = held;
    for (const passage of this.#passages) passage.hold(held);
  }

  close(): void {
    this.#server.close();
    for (const passage of this.#passages) passage.end();
  }

  #accept(near: Socket): void {
    const passage = new Passage(near, this.#targetPort, () => this.#passages.delete(passage));
    this.#passages.add(passage);
    passage.hold(this.#held);
  }
}

/** One connection through a relay. */
class Passage {
  readonly #near: Socket;
  /** Not dialled while a handshake could not come through. */
  #far: Socket | undefined;
  readonly #targetPort: () => number | undefined;
  readonly #onEnd: () => void;
  #held: Held = { forth: false, back: false };
  /** Ends that are closed, while the other may not know it yet. */
  #nearGone = false;
  #farGone = false;

  constructor(near: Socket, targetPort: () => number | undefined, onEnd: () => void) {
    this.#near = near;
    this.#targetPort = targetPort;
    this.#onEnd = onEnd;
    near.setNoDelay(true);
    near.on("error", () => undefined);
    near.on("close", () => {
      this.#nearGone = true;
      this.#settle();
    });
  }

  hold(held: Held): void {
    this.#held = held;
    this.#settle();
  }

  end(): void {
    this.#near.destroy();
    this.#far?.destroy();
    this.#onEnd();
  }

  #settle(): void {
    const { forth, back } = this.#held;
    if (this.#nearGone && (this.#far === undefined || !forth)) return this.end();
    if (this.#farGone && !back) return this.end();
    if (this.#far === undefined) {
      if (!forth && !back) this.#dial();
      return;
    }
    flow(this.#near, this.#far, forth);
    flow(this.#far, this.#near, back);
  }

  #dial(): void {
    const port = this.#targetPort();
    if (port === undefined) return this.end();
    const far = connect({ host: "127.0.0.1", port });
    this.#far = far;
    far.setNoDelay(true);
    far.on("error", () => undefined);
    far.on("close", () => {
      this.#farGone = true;
      this.#settle();
    });
    join(this.#near, far, () => this.#held.forth);
    join(far, this.#near, () => this.#held.back);
    this.#settle();
  }
}

function join(from: Socket, to: Socket, held: () => boolean): void {
  from.on("data", (chunk: Buffer) => {
    if (!to.write(chunk)) from.pause();
  });
  to.on("drain", () => {
    if (!held()) from.resume();
  });
}

function flow(from: Socket, to: Socket, held: boolean): void {
  if (held) from.pause();
  else if (!to.writableNeedDrain) from.resume();
}
