// The ESMTP parameters of MAIL that we announce, checked. Pure.

const bodyTypes: ReadonlySet<string> = new Set(["7BIT", "8BITMIME", "BINARYMIME"]);

/** The refusal that a MAIL command's parameters deserve; undefined for good ones. */
export function refuseMailParameters(
  parameters: ReadonlyMap<string, string>,
  messageBytesMax: number,
): string | undefined {
  for (const [name, value] of parameters) {
    switch (name) {
      case "SIZE":
        if (!/^\d{1,20}$/.test(value)) return "501 5.5.4 SIZE wants a number";
        if (Number(value) > messageBytesMax) {
          // RFC 1870 §6.1
          return `552 5.3.4 Message larger than ${messageBytesMax} bytes (limits.messageBytes)`;
        }
        break;
      case "BODY":
        // RFC 6152 §2, RFC 3030 §3
        if (!bodyTypes.has(value.toUpperCase())) return "501 5.5.4 Unknown BODY type";
        break;
      case "SMTPUTF8":
        // RFC 6531 §3.4
        if (value !== "") return "501 5.5.4 SMTPUTF8 takes no value";
        break;
      case "AUTH":
        // RFC 4954 §5: accepted; we trust nobody's claim about who wrote it.
        break;
      default:
        return `555 5.5.4 Parameter ${name} is not supported`; // RFC 5321 §4.1.1.11
    }
  }
  return undefined;
}
