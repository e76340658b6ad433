// The SASL mechanisms of IMAP, POP3 and submission, and which of them a connection is offered. RFC 4422 §3.1

export const saslMechanisms = [
  "PLAIN",
  "LOGIN",
  "SCRAM-SHA-256",
  "SCRAM-SHA-256-PLUS",
  "OAUTHBEARER",
  "XOAUTH2",
] as const;
export type SaslMechanism = (typeof saslMechanisms)[number];

/** The strongest first; clients mostly take the first that they know. */
const order: readonly SaslMechanism[] = [
  "SCRAM-SHA-256-PLUS",
  "SCRAM-SHA-256",
  "PLAIN",
  "LOGIN",
  "OAUTHBEARER",
  "XOAUTH2",
];

/** @param canBind SCRAM-SHA-256-PLUS may be offered: it needs TLS as a channel to bind to. RFC 5802 §6 */
export function offeredMechanisms(
  allowed: readonly SaslMechanism[],
  canBind: boolean,
): readonly SaslMechanism[] {
  return order.filter(
    (each) => allowed.includes(each) && (canBind || each !== "SCRAM-SHA-256-PLUS"),
  );
}
