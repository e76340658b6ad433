// docs/rfc.md: which section of which RFC is followed where, from the references in the sources
// (`RFC 9051 §7.5.1`, the one form that test/unit/tidy.test.ts allows). Run by `npm run rfc`.

import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

/** Title per RFC, for those that the sources name. */
const titles: Readonly<Record<string, string>> = {
  "822": "ARPA Internet Text Messages",
  "1557": "Korean in mail (ISO-2022-KR)",
  "1870": "SMTP SIZE",
  "1939": "POP3",
  "1951": "DEFLATE",
  "2033": "LMTP",
  "2034": "SMTP ENHANCEDSTATUSCODES",
  "2045": "MIME: format of bodies",
  "2046": "MIME: media types",
  "2047": "MIME: non-ASCII headers",
  "2087": "IMAP QUOTA (old)",
  "2177": "IMAP IDLE",
  "2180": "IMAP multi-accessed mailboxes",
  "2183": "Content-Disposition",
  "2231": "MIME parameter values, charsets and languages",
  "2342": "IMAP NAMESPACE",
  "2369": "List header fields",
  "2449": "POP3 CAPA",
  "2595": "TLS with IMAP and POP3",
  "2822": "Internet Message Format (old)",
  "2920": "SMTP PIPELINING",
  "2971": "IMAP ID",
  "3030": "SMTP CHUNKING and BINARYMIME",
  "3066": "Language tags",
  "3206": "POP3 SYS and AUTH codes",
  "3207": "SMTP STARTTLS",
  "3282": "Content-Language",
  "3339": "Date and time on the Internet",
  "3348": "IMAP CHILDREN",
  "3463": "Enhanced status codes",
  "3501": "IMAP4rev1",
  "3502": "IMAP MULTIAPPEND",
  "3516": "IMAP BINARY",
  "3629": "UTF-8",
  "3691": "IMAP UNSELECT",
  "3848": "SMTP and LMTP transmission types",
  "3986": "URI",
  "4314": "IMAP ACL",
  "4315": "IMAP UIDPLUS",
  "4422": "SASL",
  "4466": "IMAP ABNF additions",
  "4469": "IMAP CATENATE",
  "4514": "LDAP distinguished names as text",
  "4549": "Disconnected IMAP clients",
  "4551": "IMAP CONDSTORE (old)",
  "4616": "SASL PLAIN",
  "4648": "Base64 and the like",
  "4731": "IMAP ESEARCH",
  "4954": "SMTP AUTH",
  "4959": "IMAP SASL-IR",
  "4978": "IMAP COMPRESS",
  "5032": "IMAP WITHIN",
  "5034": "POP3 SASL",
  "5051": "i;unicode-casemap",
  "5092": "IMAP URLs",
  "5161": "IMAP ENABLE",
  "5182": "IMAP SEARCHRES",
  "5198": "Unicode for network interchange",
  "5233": "Subaddresses (user+tag)",
  "5234": "ABNF",
  "5256": "IMAP SORT and THREAD",
  "5258": "IMAP LIST-EXTENDED",
  "5280": "X.509 certificates",
  "5321": "SMTP",
  "5322": "Internet Message Format",
  "5464": "IMAP METADATA",
  "5465": "IMAP NOTIFY",
  "5530": "IMAP response codes",
  "5788": "IMAP keyword registry",
  "5802": "SCRAM",
  "5819": "IMAP LIST-STATUS",
  "5890": "IDNA: definitions",
  "5891": "IDNA: protocol",
  "6125": "Service identity in TLS",
  "6152": "SMTP 8BITMIME",
  "6154": "IMAP SPECIAL-USE",
  "6186": "SRV records of mail services",
  "6409": "Message submission",
  "6531": "SMTP SMTPUTF8",
  "6532": "Internationalized headers",
  "6533": "Internationalized delivery status",
  "6750": "Bearer tokens",
  "6851": "IMAP MOVE",
  "6855": "IMAP UTF-8",
  "6856": "POP3 UTF8",
  "7103": "Malformed messages",
  "7162": "IMAP CONDSTORE and QRESYNC",
  "7505": "Null MX",
  "7888": "IMAP LITERAL+ and LITERAL-",
  "7889": "IMAP APPENDLIMIT",
  "8314": "Cleartext considered obsolete",
  "8437": "IMAP UNAUTHENTICATE",
  "8438": "IMAP STATUS=SIZE",
  "8440": "IMAP LIST-MYRIGHTS",
  "8446": "TLS 1.3",
  "8457": "IMAP $Important",
  "8474": "IMAP OBJECTID",
  "8508": "IMAP REPLACE",
  "8514": "IMAP SAVEDATE",
  "8689": "SMTP REQUIRETLS",
  "9051": "IMAP4rev2",
  "9106": "Argon2",
  "9110": "HTTP semantics",
  "9208": "IMAP QUOTA",
  "9422": "SMTP LIMITS",
  "9562": "UUID",
  "9585": "IMAP INPROGRESS",
  "9586": "IMAP UIDONLY",
  "9590": "IMAP LIST-METADATA",
};

interface Reference {
  readonly rfc: string;
  /** Empty: the RFC as a whole. */
  readonly section: string;
  readonly file: string;
}

/** The text of docs/rfc.md for the checkout at `root`. */
export function rfcTable(root: string): string {
  const references = sourceFiles(join(root, "src")).flatMap((path) =>
    referencesIn(readFileSync(path, "utf8")).map((reference) => ({
      ...reference,
      file: relative(root, path).replaceAll(sep, "/"),
    })),
  );
  const numbers = [...new Set(references.map(({ rfc }) => rfc))].sort(
    (a, b) => Number(a) - Number(b),
  );
  return [
    "# RFC sections and the files that follow them",
    "",
    "Made by `npm run rfc` from the references in `src/`; edit those.",
    "",
    ...numbers.flatMap((rfc) => chapter(rfc, references)),
  ].join("\n");
}

/** Every `RFC n §a, §b and §c` of a text; the sections after a number belong to it up to the next one. */
export function referencesIn(text: string): readonly Omit<Reference, "file">[] {
  return text.split("\n").flatMap((line) => {
    const parts = line.split(/\bRFC (?=\d)/).slice(1);
    return parts.flatMap((part) => {
      const rfc = /^\d+/.exec(part)?.[0] ?? "";
      const ours = part.split(/\b[Pp]aper\b/, 1)[0] ?? "";
      const sections = [...ours.matchAll(/§([0-9A-Z]+(?:\.[0-9A-Za-z]+)*)/g)];
      if (sections.length === 0) return [{ rfc, section: "" }];
      return sections.map(([, section = ""]) => ({ rfc, section }));
    });
  });
}

function chapter(rfc: string, all: readonly Reference[]): readonly string[] {
  const bySection = new Map<string, Set<string>>();
  for (const { section, file } of all.filter((reference) => reference.rfc === rfc)) {
    const files = bySection.get(section) ?? new Set<string>();
    bySection.set(section, files.add(file));
  }
  const title = titles[rfc];
  return [
    `## RFC ${rfc}${title === undefined ? "" : `: ${title}`}`,
    "",
    "| section | files |",
    "|---|---|",
    ...[...bySection]
      .sort(([a], [b]) => compareSections(a, b))
      .map(([section, files]) => {
        const links = [...files].sort().map((file) => `[${file.slice(4)}](../${file})`);
        return `| ${section === "" ? "" : `§${section}`} | ${links.join(", ")} |`;
      }),
    "",
  ];
}

function compareSections(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function sourceFiles(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
