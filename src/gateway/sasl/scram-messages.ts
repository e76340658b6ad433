// The client's two messages of SCRAM, taken apart. RFC 5802 §7. Pure.

import { fromBase64 } from "./text.ts";

export interface ClientFirst {
  /** GS2 header, as it came: it is said again in the last message. */
  readonly header: string;
  readonly binding:
    | { readonly kind: "none" }
    /** The client can bind, and thinks that the server can't. */
    | { readonly kind: "notOffered" }
    | { readonly kind: "bound"; readonly type: string };
  readonly authzid: string;
  readonly login: string;
  readonly nonce: string;
  /** The message without its header, for the proof. */
  readonly bare: string;
}

export interface ClientFinal {
  /** Header and binding data. */
  readonly binding: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
  /** The message without its proof, for the proof. */
  readonly withoutProof: string;
}

const messageMax = 4096;

/** Undefined when it is none; also for extensions that must be understood (`m=`). */
export function parseClientFirst(text: string): ClientFirst | undefined {
  if (text.length > messageMax) return undefined;
  const match =
    /^((n|y|p=([A-Za-z0-9.-]+)),(?:a=([^,\0]+))?,)(n=([^,\0]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[^\0]*)?)$/u.exec(
      text,
    );
  if (match === null) return undefined;
  const [, header = "", flag, type, authzid = "", bare = "", name = "", nonce = ""] = match;
  const login = unescaped(name);
  const other = unescaped(authzid);
  if (login === undefined || other === undefined) return undefined;
  return {
    header,
    binding:
      type !== undefined ? { kind: "bound", type } : { kind: flag === "y" ? "notOffered" : "none" },
    authzid: other,
    login,
    nonce,
    bare,
  };
}

export function parseClientFinal(text: string): ClientFinal | undefined {
  if (text.length > messageMax) return undefined;
  const match =
    /^(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[^\0]*?)?),p=([A-Za-z0-9+/=]+)$/u.exec(
      text,
    );
  if (match === null) return undefined;
  const [, withoutProof = "", bound = "", nonce = "", proved = ""] = match;
  const binding = fromBase64(bound);
  const proof = fromBase64(proved);
  if (binding === undefined || proof === undefined) return undefined;
  return { binding, nonce, proof, withoutProof };
}

/** RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, and no other `=` may be there. */
function unescaped(name: string): string | undefined {
  if (/=(?!2C|3D)/.test(name)) return undefined;
  return name.replaceAll("=2C", ",").replaceAll("=3D", "=");
}
