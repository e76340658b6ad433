// What one POP3 listener bounds. The configuration fills it in; tests pass their own.

export interface Pop3Limits {
  /** A command line with its line end. RFC 2449 §4 asks for at least 255. */
  readonly lineBytesMax: number;
  /** An AUTH command or a line of its exchange. */
  readonly authLineBytesMax: number;
  /** The connection ends with the bad command, or failed login, of this number. */
  readonly badCommandsMax: number;
  readonly connectionsMax: number;
  /** From one address; loopback is exempt. */
  readonly connectionsPerAddressMax: number;
  /** From the greeting to a good login, all tries together. */
  readonly authenticationMs: number;
  /** For each command to arrive whole. RFC 1939 §3 asks for at least 10 minutes. */
  readonly commandMs: number;
  readonly tlsHandshakeMs: number;
  /** For a client that reads nothing. */
  readonly writeMs: number;
  /** How long a login waits for a maildrop in use: a client may reconnect faster than its old lock goes. */
  readonly lockWaitMs: number;
}

export const defaultPop3Limits: Pop3Limits = {
  lineBytesMax: 512,
  authLineBytesMax: 16 * 1024,
  badCommandsMax: 10,
  connectionsMax: 10_000,
  connectionsPerAddressMax: 50,
  authenticationMs: 60_000,
  commandMs: 600_000,
  tlsHandshakeMs: 10_000,
  writeMs: 300_000,
  lockWaitMs: 1_000,
};
