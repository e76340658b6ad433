// Bearer tokens of an identity provider: whose they are, and until when. Asked by introspection
// (RFC 7662) or checked here against its published keys (RFC 7519, 7517). Whether that login may do
// anything is the authenticator's business.

import { createHash } from "node:crypto";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import type { Clock } from "../../lib/clock.ts";
import { Lru } from "../../lib/lru.ts";

export interface TokenOptions {
  readonly introspection?: {
    readonly url: string;
    readonly clientId: string;
    readonly clientSecret: string;
  };
  readonly jwks?: { readonly url: string; readonly issuer: string; readonly audience: string };
  /** Claim that holds the login name. */
  readonly loginClaim: string;
  /** Must be among the token's scopes. */
  readonly scope?: string;
  /** A token that was good is not asked about again for so long. */
  readonly cacheMs: number;
}

export type TokenVerdict =
  | { readonly kind: "ok"; readonly login: string }
  | { readonly kind: "refused" }
  | { readonly kind: "unavailable"; readonly why: string };

const askMs = 5000;
const answerBytesMax = 64 * 1024;
const tokenBytesMax = 12 * 1024;
const cacheMax = 10_000;
/** Signatures only; `none` and shared secrets are never taken. RFC 8725 §3.1 */
const algorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "EdDSA",
];

interface Known {
  readonly login: string;
  readonly untilMs: number;
}

export class TokenVerifier {
  readonly #options: TokenOptions;
  readonly #clock: Clock;
  readonly #known = new Lru<string, Known>(cacheMax);
  readonly #keys: ReturnType<typeof createRemoteJWKSet> | undefined;

  constructor(options: TokenOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    const { jwks } = options;
    if (jwks !== undefined) {
      this.#keys = createRemoteJWKSet(new URL(jwks.url), { timeoutDuration: askMs });
    }
  }

  /** The login of a token that was found good a while ago, and still counts. */
  known(token: string): string | undefined {
    if (token.length > tokenBytesMax) return undefined;
    const known = this.#known.get(nameOf(token));
    return known !== undefined && this.#clock.monotonicMs() < known.untilMs
      ? known.login
      : undefined;
  }

  /** Never rejects: a provider that can't be asked is `unavailable`. */
  async verify(token: string, signal: AbortSignal): Promise<TokenVerdict> {
    if (token.length > tokenBytesMax || !/^[A-Za-z0-9\-._~+/]+=*$/.test(token)) {
      return { kind: "refused" }; // RFC 6750 §2.1
    }
    const known = this.known(token);
    if (known !== undefined) return { kind: "ok", login: known };
    const claims = await this.#claims(token, signal);
    if ("kind" in claims) return claims;
    const { loginClaim, scope, cacheMs } = this.#options;
    const login = claims.values[loginClaim];
    const scopes = scopesOf(claims.values);
    if (typeof login !== "string" || login === "") return { kind: "refused" };
    if (scope !== undefined && !scopes.includes(scope)) return { kind: "refused" };
    const leftMs = claims.expiresMs - this.#clock.nowMs();
    if (leftMs <= 0) return { kind: "refused" };
    const untilMs = this.#clock.monotonicMs() + Math.min(cacheMs, leftMs);
    this.#known.set(nameOf(token), { login, untilMs }, 1);
    return { kind: "ok", login };
  }

  async #claims(
    token: string,
    signal: AbortSignal,
  ): Promise<{ readonly values: JWTPayload; readonly expiresMs: number } | TokenVerdict> {
    try {
      const values = await (this.#keys === undefined
        ? this.#introspect(token, signal)
        : this.#checkSignature(token));
      if (values === undefined) return { kind: "refused" };
      const expiresMs = values.exp === undefined ? Number.POSITIVE_INFINITY : values.exp * 1000;
      return { values, expiresMs };
    } catch (error) {
      if (error instanceof errors.JOSEError && !isOfProvider(error)) return { kind: "refused" };
      const why = error instanceof Error ? error.message : "no answer";
      return { kind: "unavailable", why: `the identity provider can't be asked: ${why}` };
    }
  }

  async #checkSignature(token: string): Promise<JWTPayload | undefined> {
    const { jwks } = this.#options;
    if (this.#keys === undefined || jwks === undefined) return undefined;
    const { issuer, audience } = jwks;
    const options = { issuer, audience, algorithms, requiredClaims: ["exp"], clockTolerance: 30 };
    return (await jwtVerify(token, this.#keys, options)).payload;
  }

  async #introspect(token: string, signal: AbortSignal): Promise<JWTPayload | undefined> {
    const { introspection } = this.#options;
    if (introspection === undefined) return undefined;
    const { url, clientId, clientSecret } = introspection;
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    const user = [clientId, clientSecret].map(encodeURIComponent).join(":");
    const answer = await fetch(url, {
      method: "POST",
      headers: {
        authorization: `Basic ${Buffer.from(user).toString("base64")}`,
        accept: "application/json",
      },
      body: new URLSearchParams({ token, token_type_hint: "access_token" }),
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(askMs)]),
    });
    if (!answer.ok) throw new Error(`introspection answered ${answer.status}`);
    const text = await answer.text();
    if (text.length > answerBytesMax) throw new Error("introspection answered too much");
    const claims: unknown = JSON.parse(text);
    if (!isClaims(claims)) throw new Error("introspection answered no object");
    return claims["active"] === true ? claims : undefined; // RFC 7662 §2.2
  }
}

/** Under which it is remembered: not as it is. */
function nameOf(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}

/** The provider's fault, not the token's. */
function isOfProvider(error: errors.JOSEError): boolean {
  return (
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid ||
    error instanceof errors.JWKInvalid ||
    error.code === "ERR_JOSE_GENERIC"
  );
}

function isClaims(value: unknown): value is JWTPayload {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** RFC 6749 §3.3: words with blanks between; some providers say `scp`, or a list. */
function scopesOf(claims: JWTPayload): readonly string[] {
  const said = claims["scope"] ?? claims["scp"];
  if (typeof said === "string") return said.split(" ");
  return Array.isArray(said) ? said.filter((each) => typeof each === "string") : [];
}
