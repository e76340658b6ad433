// CAPA: what works in this state, and nothing else. RFC 2449 §5

import { maySendPassword, offeredTo } from "./authorization.ts";
import type { Pop3State, Pop3Step } from "./state.ts";

export function capabilities(state: Pop3State): Pop3Step {
  const { tls, tlsAvailable } = state.facts;
  const loggedIn = state.maildrop !== undefined;
  const lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"];
  lines.push("EXPIRE NEVER", "LOGIN-DELAY 0");
  // RFC 6856 §2.2: with USER, names and passwords may be UTF-8 as well.
  lines.push("UTF8 USER");
  if (!loggedIn && maySendPassword(state.facts)) lines.push("USER");
  const mechanisms = offeredTo(state.facts);
  if (!loggedIn && mechanisms.length > 0) lines.push(`SASL ${mechanisms.join(" ")}`);
  // RFC 2595 §4: only in the AUTHORIZATION state, and not when TLS is there already.
  if (!loggedIn && !tls && tlsAvailable) lines.push("STLS");
  lines.push("IMPLEMENTATION Pabal");
  return [state, [{ kind: "lines", first: "+OK Capabilities follow", lines }]];
}
