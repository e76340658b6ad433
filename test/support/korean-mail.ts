// Korean mail as it comes: every charset, header form and file name form in use, each with what a SEARCH
// must find in it. For tests of SEARCH with and without its index.

import { Buffer } from "node:buffer";
import { encodeCharset } from "../../src/mail/charset/charset.ts";
import type { SearchKey } from "../../src/mail/search-key.ts";

export interface KoreanMail {
  readonly name: string;
  readonly bytes: Buffer;
  readonly finds: readonly SearchKey[];
}

const body = (text: string): SearchKey => ({ kind: "body", text });
const text = (of: string): SearchKey => ({ kind: "text", text: of });
const subject = (of: string): SearchKey => ({ kind: "header", name: "Subject", text: of });
const from = (of: string): SearchKey => ({ kind: "header", name: "From", text: of });

function encoded(of: string, charset: string): Buffer {
  const bytes = encodeCharset(of, charset);
  if (bytes === undefined) throw new Error(`${of} is not in ${charset}`);
  return bytes;
}

/** A message of header lines and a body, bytes or text. */
function mail(header: readonly (string | Buffer)[], content: string | Buffer = "본문\r\n"): Buffer {
  const end = Buffer.from("\r\n");
  return Buffer.concat([
    ...header.flatMap((line) => [Buffer.from(line), end]),
    end,
    Buffer.from(content),
  ]);
}

function bodyMail(type: string, cte: string, content: string | Buffer): Buffer {
  return mail([`Content-Type: ${type}`, `Content-Transfer-Encoding: ${cte}`], content);
}

function word(of: string, charset: string, form: "B" | "Q" = "B"): string {
  const bytes = encoded(of, charset);
  const q = [...bytes].map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, "0")}`);
  return `=?${charset}?${form}?${form === "B" ? bytes.toString("base64") : q.join("")}?=`;
}

function base64(bytes: Buffer): string {
  return bytes.toString("base64").replaceAll(/.{76}/g, "$&\r\n");
}

function quoted(bytes: Buffer): string {
  let line = "";
  let out = "";
  for (const byte of bytes) {
    const hex = `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    // Soft breaks in the middle of characters, as mailers make them.
    if (line.length + hex.length > 40) {
      out += `${line}=\r\n`;
      line = "";
    }
    line += hex;
  }
  return out + line;
}

function percent(bytes: Buffer): string {
  return [...bytes].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}

function attachment(...disposition: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat([
    Buffer.from("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"),
    Buffer.from("Content-Type: application/octet-stream\r\nContent-Disposition: attachment"),
    ...disposition.map((one) => Buffer.concat([Buffer.from(";\r\n "), Buffer.from(one)])),
    Buffer.from("\r\n\r\nAAAA\r\n--b--\r\n"),
  ]);
}

const sentence = "안녕하세요. 분기 보고서를 첨부합니다.\r\n감사합니다.\r\n";
/** In CP949 and not in EUC-KR. */
const ownSyllables = "펲시맨과 똠방각하의 쓩쓩 햏햏\r\n";

const bodies: readonly KoreanMail[] = [
  ["utf-8", "8bit", Buffer.from(sentence)] as const,
  ["utf-8", "base64", base64(Buffer.from(sentence))] as const,
  ["utf-8", "quoted-printable", quoted(Buffer.from(sentence))] as const,
  ["euc-kr", "8bit", encoded(sentence, "euc-kr")] as const,
  ["ks_c_5601-1987", "base64", base64(encoded(sentence, "euc-kr"))] as const,
  ["KSC5601", "quoted-printable", quoted(encoded(sentence, "euc-kr"))] as const,
  ["iso-2022-kr", "7bit", encoded(sentence, "iso-2022-kr")] as const,
  ["utf-16le", "base64", base64(Buffer.from(sentence, "utf16le"))] as const,
  ["us-ascii", "8bit", encoded(sentence, "euc-kr")] as const,
  ["x-unknown", "8bit", encoded(sentence, "euc-kr")] as const,
  ["unknown-8bit", "8bit", Buffer.from(sentence)] as const,
].map(([charset, cte, content]) => ({
  name: `a body in ${charset}, ${cte}`,
  bytes: bodyMail(`text/plain; charset="${charset}"`, cte, content),
  finds: [body("보고서"), body("분기 보고"), body("고"), body("감사합니다"), text("첨부합")],
}));

const syllables: readonly KoreanMail[] = ["euc-kr", "ks_c_5601-1987", "cp949", "windows-949"].map(
  (charset) => ({
    name: `syllables of CP949 in ${charset}`,
    bytes: bodyMail(`text/plain; charset=${charset}`, "8bit", encoded(ownSyllables, "cp949")),
    finds: [body("펲시맨"), body("똠방각하"), body("햏"), body("쓩쓩")],
  }),
);

const html: readonly KoreanMail[] = [
  {
    name: "HTML in EUC-KR with marks inside words and entities",
    bytes: bodyMail(
      "text/html; charset=euc-kr",
      "8bit",
      encoded("<p>분<b>기</b> 보&shy;고&#49436;</p><div>한&nbsp;글</div>", "euc-kr"),
    ),
    finds: [body("분기 보고서"), body("한 글")],
  },
  {
    name: "HTML without a charset but in its own words",
    bytes: bodyMail(
      "text/html",
      "base64",
      base64(encoded("<html><body>회의록을 보냅니다</body></html>", "euc-kr")),
    ),
    finds: [body("회의록"), body("보냅니다")],
  },
];

const headers: readonly KoreanMail[] = [
  ...["utf-8", "euc-kr", "ks_c_5601-1987", "iso-2022-kr"].flatMap((charset) =>
    (["B", "Q"] as const).map((form) => ({
      name: `encoded words, ${charset} ${form}`,
      bytes: mail([
        `From: ${word("홍길동", charset, form)} <hong@example.net>`,
        `Subject: ${word("주간 회의", charset, form)}\r\n ${word(" 안건", charset, form)}`,
      ]),
      finds: [subject("회의 안건"), from("길동"), from("홍길동 <hong@"), text("주간 회의 안건")],
    })),
  ),
  {
    name: "a character cut in two by encoded words",
    bytes: mail([
      `Subject: =?utf-8?B?${Buffer.from("결재 문서").subarray(0, 7).toString("base64")}?=`,
      ` =?utf-8?B?${Buffer.from("결재 문서").subarray(7).toString("base64")}?=`,
    ]),
    finds: [subject("결재 문서"), subject("문서")],
  },
  {
    name: "an encoded word in quotes",
    bytes: mail([`From: "${word("이순신", "euc-kr")}" <lee@example.net>`]),
    finds: [from("이순신")],
  },
  {
    name: "raw 8-bit headers in EUC-KR",
    bytes: mail([
      encoded("Subject: 긴급 공지", "euc-kr"),
      encoded("From: 홍길동 <h@a.kr>", "cp949"),
    ]),
    finds: [subject("긴급 공지"), from("길동"), text("공지")],
  },
  {
    name: "raw 8-bit headers in CP949's own syllables, and in UTF-8",
    bytes: mail([encoded("Subject: 똠방각하", "cp949"), "From: 홍길동 <h@a.kr>"]),
    finds: [subject("똠방각하"), from("홍길동")],
  },
  {
    name: "NFD, as macOS writes names",
    bytes: mail(
      [
        `Subject: ${word("회의 자료".normalize("NFD"), "utf-8")}`,
        `From: ${word("각하".normalize("NFD"), "utf-8", "Q")} <k@a.kr>`,
        "Content-Type: text/plain; charset=utf-8",
      ],
      "맥에서 보낸 파일\r\n".normalize("NFD"),
    ),
    finds: [subject("회의"), subject("자료".normalize("NFD")), from("각하"), body("보낸 파일")],
  },
  {
    name: "wide letters and digits",
    bytes: mail([`Subject: ${word("ＰＡＢＡＬ　２０２６년", "utf-8")}`]),
    finds: [subject("pabal 2026년"), subject("ＰＡＢ")],
  },
  {
    name: "an inner message",
    bytes: mail(
      ["Content-Type: message/rfc822"],
      mail([`Subject: ${word("전달된 제목", "euc-kr")}`], "전달된 본문\r\n"),
    ),
    finds: [body("전달된 제목"), body("본문")],
  },
];

const files: readonly KoreanMail[] = (
  [
    ["RFC 2231 in UTF-8", [`filename*=UTF-8''${percent(Buffer.from("보고서 최종.hwp"))}`]],
    [
      "RFC 2231 in EUC-KR",
      [`filename*=euc-kr'ko'${percent(encoded("보고서 최종.hwp", "euc-kr"))}`],
    ],
    [
      "RFC 2231 in pieces",
      [
        `filename*0*=UTF-8''${percent(Buffer.from("보고서 최종").subarray(0, 8))}`,
        `filename*1*=${percent(Buffer.from("보고서 최종").subarray(8))}`,
        "filename*2=.hwp",
      ],
    ],
    ["RFC 2047", [`filename="${word("보고서 최종.hwp", "utf-8")}"`]],
    ["RFC 2047 in EUC-KR", [`filename="${word("보고서 최종.hwp", "euc-kr")}"`]],
    ["raw EUC-KR", [encoded('filename="보고서 최종.hwp"', "euc-kr")]],
    ["raw UTF-8", ['filename="보고서 최종.hwp"']],
    [
      "NFD in RFC 2231",
      [`filename*=UTF-8''${percent(Buffer.from("보고서 최종.hwp".normalize("NFD")))}`],
    ],
    ["NFD in RFC 2047", [`filename="${word("보고서 최종.hwp".normalize("NFD"), "utf-8")}"`]],
  ] as const
).map(([name, disposition]) => ({
  name: `a file name, ${name}`,
  bytes: attachment(...disposition),
  finds: [body("보고서"), body("최종.hwp"), text("보고서 최종")],
}));

/** The whole corpus. */
export const koreanMail: readonly KoreanMail[] = [
  ...bodies,
  ...syllables,
  ...html,
  ...headers,
  ...files,
];
