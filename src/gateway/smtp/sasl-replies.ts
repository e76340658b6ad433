// What RFC 4954 wants said of an authentication exchange and smtp-server's SASL does not say: strict
// base64, and the enhanced status codes of its own refusals. Pure.

/** True for what a client may send in an exchange: base64, nothing, or `*`. RFC 4954 §4 */
export function isSaslLine(text: string): boolean {
  return text === "*" || (text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text));
}

/** The same for the initial response of AUTH, where `=` stands for an empty one. RFC 4954 §4 */
export function hasGoodInitialResponse(line: string): boolean {
  const [, , initial = ""] = line.trim().split(/\s+/);
  return initial === "=" || isSaslLine(initial);
}

/** RFC 4954 §4: 501 when a response can't be decoded. */
export const notBase64 = "501 5.5.2 Not base64";

/** A refusal of the library with its enhanced status code in front, where its own would be wrong. */
export function saslText(code: number, text: string): string {
  if (code !== 501) return text;
  if (text === "Authentication aborted") return `5.7.0 ${text}`; // RFC 4954 §4: cancelled by `*`
  return text.endsWith("invalid userdata") || text.endsWith("missing username")
    ? "5.5.2 Malformed credentials"
    : text;
}
