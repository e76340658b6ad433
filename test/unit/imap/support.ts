// What several IMAP tests share: an account u1 with three known messages, and how to add more.

import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import type { GatewayServices } from "../../../src/gateway/services.ts";
import type { FakeServices } from "../../support/fake-services.ts";

export const messages: readonly { readonly text: string; readonly flags: readonly string[] }[] = [
  {
    text: crlf(`Date: Wed, 17 Jul 1996 02:23:25 -0700
From: Terry Gray <gray@cac.washington.example>
To: imap@cac.washington.example
Subject: IMAP4rev2 WG mtg summary and minutes
Message-Id: <B27397-0100000@cac.washington.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

Minutes of the meeting.
`),
    flags: ["\\Seen"],
  },
  {
    text: crlf(`Date: Thu, 18 Jul 1996 10:00:00 +0000
From: Ann <ann@example.net>
To: u1@pabal.test
Cc: bob@example.net
Subject: two parts
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

caf=C3=A9
--b1
Content-Type: application/octet-stream; name="x.bin"
Content-Transfer-Encoding: base64

AAEC
--b1--
`),
    flags: [],
  },
  {
    text: crlf(`Date: Fri, 19 Jul 1996 10:00:00 +0900
From: =?UTF-8?B?7ZmN6ri464+Z?= <hong@example.kr>
To: u1@pabal.test
Subject: =?EUC-KR?B?v+y4rrPXIMbEud8=?=
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

안녕하세요 파발입니다
`),
    flags: ["\\Flagged", "$Forwarded"],
  },
];

/** An account `u1` (password `secret`) whose INBOX has `messages`, a day apart from 17-Jul-1996 on. */
export async function seedAccount(services: FakeServices): Promise<Principal> {
  const { who } = services.store.addAccount("u1@pabal.test");
  await seedMessages(services, who);
  return who;
}

/** Appends `messages` to the INBOX, a day apart from 17-Jul-1996 on. */
export async function seedMessages(services: GatewayServices, who: Principal): Promise<void> {
  for (const [at, { text, flags }] of messages.entries()) {
    await addMessage(services, who, "INBOX", text, flags, 837_596_665_000 + at * 86_400_000);
  }
}

/** Appends behind the protocol's back, as a delivery would. */
export async function addMessage(
  services: GatewayServices,
  who: Principal,
  mailbox: string,
  text: string,
  flags: readonly string[] = [],
  internalDateMs?: number,
): Promise<number> {
  const bytes = Buffer.from(text);
  const message = { source: { kind: "bytes", bytes } as const, index: indexMessage(bytes), flags };
  const { uids } = await services.store.append(
    who,
    {
      opId: services.nextOpId(),
      retry: false,
      mailbox,
      messages: [
        internalDateMs === undefined
          ? message
          : { ...message, internalDateMs, internalDateZone: -420 },
      ],
    },
    new AbortController().signal,
  );
  return uids[0] ?? 0;
}

export function crlf(text: string): string {
  return text.replaceAll(/\r?\n/g, "\r\n");
}

export function ascending(values: Iterable<number>): number[] {
  return [...values].sort((a, b) => a - b);
}
