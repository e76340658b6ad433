// A SEARCH program after parsing: charset decoded, sequence numbers turned into UIDs, session-only
// keys (RECENT, NEW, OLD, $) turned into UID sets by the gateway. Evaluated at the mail node.

import type { UidSet } from "./uid-set.ts";

/** A calendar day as days since 1970-01-01, without a time zone. RFC 9051 §6.4.4 */
export type Day = number;

export type SearchKey =
  | { readonly kind: "all" }
  | { readonly kind: "and"; readonly keys: readonly SearchKey[] }
  | { readonly kind: "or"; readonly a: SearchKey; readonly b: SearchKey }
  | { readonly kind: "not"; readonly key: SearchKey }
  | { readonly kind: "uid"; readonly set: UidSet }
  /** System flag (`\Seen`) or keyword; keywords compare without regard to ASCII case. */
  | { readonly kind: "flag"; readonly flag: string; readonly set: boolean }
  /** Decoded header field contains `text`; empty text: the field is present. */
  | { readonly kind: "header"; readonly name: string; readonly text: string }
  | { readonly kind: "body"; readonly text: string }
  | { readonly kind: "text"; readonly text: string }
  /** INTERNALDATE, Date: header, or save date (RFC 8514) against a day. */
  | {
      readonly kind: "date";
      readonly of: "internal" | "sent" | "saved";
      readonly op: "before" | "on" | "since";
      readonly day: Day;
    }
  | { readonly kind: "size"; readonly op: "larger" | "smaller"; readonly bytes: number }
  /** RFC 5032 §3.2: INTERNALDATE within (younger) or before (older) `seconds` of `nowMs`. */
  | {
      readonly kind: "age";
      readonly op: "younger" | "older";
      readonly seconds: number;
      readonly nowMs: number;
    }
  | { readonly kind: "modseq"; readonly least: number }
  /** Exactly this object id. RFC 8474 §6 */
  | { readonly kind: "emailId"; readonly id: string }
  | { readonly kind: "threadId"; readonly id: string };
