// What the front-ends of a gateway count, one set of counters per protocol: plain numbers, raised where
// things happen and read when metrics are asked for (http/metrics.ts). Leaves the rest to the log.

import type { Socket } from "node:net";
import type { AuthVerdict } from "../cluster/directory/directory.ts";
import type { GatewayServices } from "./services.ts";

/** Protocols as metrics name them; STARTTLS and implicit TLS listeners share one. */
export const frontEndProtocols = ["smtp", "submission", "lmtp", "imap", "pop3"] as const;
export type FrontEndProtocol = (typeof frontEndProtocols)[number];

/** Upper bounds of the delivery histogram, in seconds. */
export const deliverySecondsBounds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

/** Counters of one protocol's listeners. */
export class ProtocolCounters {
  connectionsOpen = 0;
  connectionsOpened = 0;
  /** Of connections that have ended, TLS included. */
  bytesIn = 0;
  bytesOut = 0;
  readonly logins: Record<AuthVerdict["kind"], number> = {
    ok: 0,
    refused: 0,
    disabled: 0,
    unavailable: 0,
  };
  /** Messages by the first digit of the answer to their end. */
  messagesStored = 0;
  messagesRefused = 0;
  messagesPutOff = 0;
  messageBytes = 0;
  /** From the end of the data to the answer; one count per bound and one above all. */
  readonly deliverySeconds = new Float64Array(deliverySecondsBounds.length + 1);
  deliverySecondsSum = 0;

  /** Counts a connection until its socket closes. */
  watch(socket: Socket): void {
    this.connectionsOpen++;
    this.connectionsOpened++;
    socket.once("close", () => {
      this.connectionsOpen--;
      this.bytesIn += socket.bytesRead;
      this.bytesOut += socket.bytesWritten;
    });
  }

  /** A message was answered with `reply` (`250 …`), `ms` after its last byte. */
  message(reply: string, bytes: number, ms: number): void {
    if (reply.startsWith("2")) this.messagesStored++;
    else if (reply.startsWith("4")) this.messagesPutOff++;
    else this.messagesRefused++;
    this.messageBytes += bytes;
    const seconds = ms / 1000;
    let bucket = 0;
    while (seconds > (deliverySecondsBounds[bucket] ?? Number.POSITIVE_INFINITY)) bucket++;
    this.deliverySeconds[bucket] = (this.deliverySeconds[bucket] ?? 0) + 1;
    this.deliverySecondsSum += seconds;
  }
}

export type FrontEndCounters = Readonly<Record<FrontEndProtocol, ProtocolCounters>>;

export function frontEndCounters(): FrontEndCounters {
  return {
    smtp: new ProtocolCounters(),
    submission: new ProtocolCounters(),
    lmtp: new ProtocolCounters(),
    imap: new ProtocolCounters(),
    pop3: new ProtocolCounters(),
  };
}

/** The same services for the listeners of one protocol: what they do is counted in `counters`. */
export function countedServices(
  services: GatewayServices,
  counters: ProtocolCounters,
): GatewayServices {
  const { auth } = services;
  const counted = <T extends AuthVerdict>(verdict: T): T => {
    counters.logins[verdict.kind]++;
    return verdict;
  };
  return {
    ...services,
    counters,
    auth: {
      verify: async (login, password, address, signal) =>
        counted(await auth.verify(login, password, address, signal)),
      verifyToken: async (login, token, address, signal) =>
        counted(await auth.verifyToken(login, token, address, signal)),
      scram: async (login, address, signal) => {
        const begun = await auth.scram(login, address, signal);
        if (begun.kind === "unavailable") return counted(begun);
        return { ...begun, settle: (right) => counted(begun.settle(right)) };
      },
    },
  };
}
