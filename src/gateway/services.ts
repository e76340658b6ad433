// What every front-end of a gateway is given: storage, directory, authentication, limits, log.
// Front-ends get these as arguments and never read configuration files or the environment.

import type { SecureContext } from "node:tls";
import type { Logger } from "pino";
import type { Authenticator, Directory } from "../cluster/directory/directory.ts";
import type { GroupAdmin } from "../cluster/groups/group-admin.ts";
import type { Clock } from "../lib/clock.ts";
import type { DeliveryId, OpId } from "../mail/ids.ts";
import type { MailboxInfo, MailStore, Principal } from "../mail/mail-store.ts";
import type { ProtocolCounters } from "./front-end-counters.ts";
import type { MemoryGuard } from "./memory-guard.ts";
import type { SaslMechanism } from "./sasl/mechanisms.ts";

export interface GatewayServices {
  readonly store: MailStore;
  readonly directory: Directory;
  /** Absent: there are no groups. */
  readonly groups?: GroupServices;
  readonly auth: Authenticator;
  readonly clock: Clock;
  readonly log: Logger;
  /** Host name for greetings and Received. */
  readonly hostName: string;
  /** Mail domains served here, as A-labels; the first completes bare logins. */
  readonly domains: readonly string[];
  /** Current TLS context; asked anew per handshake so that certificates reload. Undefined: no TLS. */
  readonly secureContext: () => SecureContext | undefined;
  readonly nextOpId: () => OpId;
  readonly nextDeliveryId: () => DeliveryId;
  /** What `auth.mechanisms` allows. */
  readonly saslMechanisms: readonly SaslMechanism[];
  /** True when plaintext logins are allowed for this client address (loopback in `pabal dev`). */
  readonly plaintextLoginAllowed: (address: string) => boolean;
  /** Counters of the protocol that these services are for (front-end-counters.ts); absent: nothing is counted. */
  readonly counters?: ProtocolCounters;
  /** Shared by all listeners of the gateway; absent: memory is not watched. */
  readonly memory?: MemoryGuard;
}

/** What front-ends ask of groups besides their mailboxes. */
export interface GroupServices extends Pick<GroupAdmin, "join" | "leave"> {
  /** The views of groups among the user's mailboxes. */
  mailboxes(who: Principal, signal: AbortSignal): Promise<readonly MailboxInfo[]>;
}

/** A running listener of any protocol. */
export interface Listener {
  readonly port: number;
  /** Stops accepting; lets sessions finish until `signal` aborts, then ends them politely. */
  close(signal: AbortSignal): Promise<void>;
}
