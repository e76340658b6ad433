// One connection between two members: socket and frames, one write per turn of the loop, pings, and an
// end with a reason. Leaves HELLO, dialling and accepting to outgoing-peer.ts and link-server.ts, and
// the meaning of frames to the handler it is given.

import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { FrameDecoder, FrameError, FrameWriter, frameSize, frameType } from "./frame.ts";
import type { FrameHandler, FrameType } from "./frame.ts";

export interface LinkLimits {
  /** A ping goes out after so long without a frame to send. */
  readonly pingMs: number;
  /** The dialling end gives up after so long without a byte from the other. */
  readonly silenceMs: number;
  /** It also does after so long with nothing but pings from the other, which then does not hear us. */
  readonly deafMs: number;
  /** The accepting end, which loses more by an error, is more patient. */
  readonly acceptedSilenceMs: number;
  /** Connect, TLS and HELLO together. */
  readonly greetingMs: number;
  /** Above this much unsent output new calls are refused with BUSY, and producers wait. */
  readonly outputBytesMax: number;
  /**
   * Requests in flight per link; more are refused with BUSY. Each session that has a mailbox open has
   * one for as long: a watch.
   */
  readonly requestsMax: number;
  /** A call without `deadlineMs` of its own is given up after this. Streams and uploads have none. */
  readonly callDeadlineMs: number;
}

export const defaultLinkLimits: LinkLimits = {
  pingMs: 150,
  silenceMs: 500,
  deafMs: 1000,
  acceptedSilenceMs: 2000,
  greetingMs: 2000,
  outputBytesMax: 8 * 1024 * 1024,
  requestsMax: 65_536,
  callDeadlineMs: 30_000,
};

/** How often owners of links call `tick`. */
export const tickMs = 50;

/** Counters of all links of one manager or server, for metrics to read. */
export class LinkCounters {
  framesIn = 0;
  framesOut = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Links that are greeted now. */
  up = 0;
  opened = 0;
  malformed = 0;
}

/** What an owner gives each of its links. */
export interface LinkContext {
  readonly clock: Clock;
  readonly limits: LinkLimits;
  readonly counters: LinkCounters;
  /** Hook for metrics and tests: type, and bytes with the length field (sent frames only). */
  readonly onFrame?: (direction: "in" | "out", type: FrameType, bytes: number) => void;
}

const noBytes = new Uint8Array(0);
const pingBytes = frameSize(noBytes, undefined);
const flushAtBytes = 64 * 1024;

export class Link {
  readonly #socket: Socket;
  readonly #context: LinkContext;
  readonly #decoder: FrameDecoder;
  readonly #writer = new FrameWriter();
  readonly #onFrame: FrameHandler;
  readonly #onClose: (reason: string) => void;
  #flushPlanned = false;
  #closed = false;
  #reason: string | undefined;
  #receivedMs: number;
  /** When something else than pings came last, or was not to be expected. */
  #answeredMs: number;
  /** Bytes of pings in the chunk that is being read. */
  #pingedBytes = 0;
  #sentMs: number;
  #pingMs: number;
  #drained: (() => void)[] = [];
  readonly #dialled: boolean;

  /** @param onClose runs once, with words for the log. */
  constructor(
    socket: Socket,
    context: LinkContext,
    options: { readonly dialled: boolean; readonly frameBytesMax: number },
    handlers: { readonly onFrame: FrameHandler; readonly onClose: (reason: string) => void },
  ) {
    this.#socket = socket;
    this.#context = context;
    this.#dialled = options.dialled;
    this.#onFrame = handlers.onFrame;
    this.#onClose = handlers.onClose;
    this.#receivedMs = context.clock.monotonicMs();
    this.#answeredMs = this.#receivedMs;
    this.#sentMs = this.#receivedMs;
    this.#pingMs = this.#receivedMs;
    this.#decoder = new FrameDecoder(
      (type, id, head, body) => this.#receive(type, id, head, body),
      options.frameBytesMax,
    );
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("drain", () => this.#onDrain());
    socket.on("end", () => this.destroy("closed by the other end"));
    socket.on("error", (error) => this.destroy(error.message));
    socket.on("close", () => this.destroy("connection closed"));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that the kernel has not taken yet. */
  get outputBytes(): number {
    return this.#writer.bytes + this.#socket.writableLength;
  }

  get congested(): boolean {
    return this.outputBytes > this.#context.limits.outputBytesMax;
  }

  /** Longer frames are welcome once the peer is known. */
  acceptFrames(bytesMax: number): void {
    this.#decoder.accept(bytesMax);
  }

  /** Adds a frame to this turn's write. Nothing happens on a closed link. @throws {MailError} LIMIT: frame too long */
  write(type: FrameType, requestId: number, head: Uint8Array = noBytes, body?: Uint8Array): void {
    if (this.#closed) return;
    const bytes = this.#writer.add(type, requestId, head, body);
    this.#context.counters.framesOut += 1;
    this.#context.onFrame?.("out", type, bytes);
    if (this.#writer.bytes >= flushAtBytes) {
      this.#flush();
    } else if (!this.#flushPlanned) {
      this.#flushPlanned = true;
      // After the sockets and disks of this turn were heard: their answers leave in one write.
      setImmediate(() => {
        this.#flushPlanned = false;
        this.#flush();
      });
    }
  }

  /** Resolves when output is below its limit, or the link is closed. */
  whenDrained(): Promise<void> {
    if (!this.congested || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained.push(resolve);
    });
  }

  /**
   * Pings, and notices a peer that is silent, or one that speaks and does not hear us: it pings and
   * answers nothing. @param late the owner's timer was late: our own stall, not the peer's.
   */
  tick(nowMs: number, late: boolean): void {
    if (this.#closed) return;
    const { limits } = this.#context;
    // A ping behind much output is answered late.
    if (late || this.#socket.writableLength > 0) this.#answeredMs = nowMs;
    const quietMs = nowMs - Math.min(this.#sentMs, this.#answeredMs);
    if (quietMs >= limits.pingMs && nowMs - this.#pingMs >= limits.pingMs) {
      this.write(frameType.ping, 0);
      this.#sentMs = nowMs;
      this.#pingMs = nowMs;
    }
    const silenceMs = nowMs - this.#receivedMs;
    const allowedMs = this.#dialled ? limits.silenceMs : limits.acceptedSilenceMs;
    if (late || this.#socket.isPaused()) return;
    if (silenceMs > allowedMs) this.destroy(`silent for ${Math.round(silenceMs)} ms`);
    else if (this.#dialled && nowMs - this.#answeredMs > limits.deafMs)
      this.destroy("it speaks and does not hear us");
  }

  /** Sends what is written, then closes. */
  end(reason: string): void {
    if (this.#closed) return;
    this.#flush();
    this.#close(reason);
    this.#socket.end();
    // Whoever does not close in turn is cut off; the timer does not keep the process.
    const timer = this.#context.clock.after(1000, () => this.#socket.destroy());
    this.#socket.once("close", () => timer.cancel());
  }

  /** Closes at once; what is under way is lost. */
  destroy(reason: string): void {
    if (this.#closed) return;
    this.#close(reason);
    this.#socket.destroy();
  }

  #close(reason: string): void {
    this.#closed = true;
    this.#reason = reason;
    this.#decoder.stop();
    this.#wakeDrained();
    this.#onClose(reason);
  }

  get reason(): string | undefined {
    return this.#reason;
  }

  #read(chunk: Buffer): void {
    if (this.#closed) return;
    this.#receivedMs = this.#context.clock.monotonicMs();
    this.#context.counters.bytesIn += chunk.length;
    this.#pingedBytes = 0;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#context.counters.malformed += 1;
      this.destroy(`malformed frame: ${error.message}`);
      return;
    }
    if (this.#pingedBytes < chunk.length) this.#answeredMs = this.#receivedMs;
    // Whoever doesn't read our answers isn't asked for more. The dialling end always reads.
    if (!this.#dialled && this.congested) this.#socket.pause();
  }

  #receive(
    type: FrameType,
    requestId: number,
    head: Uint8Array,
    body: Uint8Array | undefined,
  ): void {
    this.#context.counters.framesIn += 1;
    this.#context.onFrame?.("in", type, head.length + (body?.length ?? 0));
    if (type === frameType.ping) {
      this.#pingedBytes += pingBytes;
      this.write(frameType.pong, 0);
    } else if (type !== frameType.pong) this.#onFrame(type, requestId, head, body);
  }

  #flush(): void {
    if (this.#closed || this.#writer.bytes === 0) return;
    this.#sentMs = this.#context.clock.monotonicMs();
    this.#context.counters.bytesOut += this.#writer.bytes;
    const chunks = this.#writer.take();
    if (chunks.length === 1) {
      this.#socket.write(chunks[0] ?? noBytes);
      return;
    }
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    this.#socket.uncork();
  }

  #onDrain(): void {
    if (this.congested) return;
    this.#wakeDrained();
    if (this.#socket.isPaused() && !this.#closed) this.#socket.resume();
  }

  #wakeDrained(): void {
    const waiters = this.#drained;
    this.#drained = [];
    for (const wake of waiters) wake();
  }
}
