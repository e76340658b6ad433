// Which acknowledged deliveries the client is known to have heard of. After its 2xx was written, the
// client's next bytes or a clean end show that; a reset does not, and the same message may come again.

import type { Socket } from "node:net";
import { crashPoint, crashPointSoon } from "../../lib/crash-point.ts";
import type { MailStore } from "../../mail/mail-store.ts";
import type { Delivery } from "./intake.ts";

export class Answered {
  readonly #store: Pick<MailStore, "confirm">;
  #deliveries: readonly Delivery[] = none;
  #bytesRead = 0;

  constructor(store: Pick<MailStore, "confirm">) {
    this.#store = store;
  }

  /** Replies that acknowledge these have been given to the socket. */
  written(deliveries: readonly Delivery[], socket: Socket): void {
    // A client that has gone did not hear it: of bytes that came before nothing follows either.
    this.#deliveries = socket.writable ? deliveries : none;
    this.#bytesRead = socket.bytesRead;
    if (deliveries.length > 0) crashPointSoon("gateway.afterReply");
  }

  /** A command has come. Pipelined in front of our reply it shows nothing. */
  clientSpoke(socket: Socket): void {
    if (this.#deliveries.length > 0 && socket.bytesRead > this.#bytesRead) this.#confirm();
  }

  /** The connection has ended. */
  closed(socket: Socket): void {
    if (this.#deliveries.length > 0 && socket.readableEnded && socket.errored === null)
      this.#confirm();
    this.#deliveries = none;
  }

  #confirm(): void {
    crashPoint("gateway.beforeConfirm");
    for (const { shard, opId } of this.#deliveries) this.#store.confirm(shard, [opId]);
    this.#deliveries = none;
  }
}

const none: readonly Delivery[] = [];
