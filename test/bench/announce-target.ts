// What the benchmark of announcements asks of a target: members by import, posts by the admin API, and
// what a member finds.

import { ImapClient } from "./imap-client.ts";
import { messageBody } from "./smtp-load.ts";
import type { Target } from "./target.ts";

export const domain = "pabal.test";
export const everyone = `everyone@${domain}`;
const importBatch = 200;
const importLanes = 4;
const groups = "/admin/v1/groups";

export function memberName(index: number): string {
  return `m${index + 1}@${domain}`;
}

/** Makes registered users until there are `to` of them. */
export async function importMembers(
  target: Target,
  from: number,
  to: number,
  hash: string,
): Promise<void> {
  let next = from;
  await Promise.all(
    Array.from({ length: importLanes }, async () => {
      while (next < to) {
        const first = next;
        next = Math.min(next + importBatch, to);
        const users = Array.from({ length: next - first }, (_, index) => ({
          name: memberName(first + index),
          hash,
        }));
        const text = await admin(target, "POST", "/admin/v1/users/import", {
          type: "application/json",
          bytes: JSON.stringify({ users }),
        });
        if (text.includes('"error"')) throw new Error(`users were refused: ${text.slice(0, 500)}`);
      }
    }),
  );
}

const body = Uint8Array.from(
  Buffer.concat([Buffer.from("Subject: to all\r\n"), messageBody(4096)]),
);

/** One announcement of 4 KiB to the group; `all` is made when there is none. */
export async function post(target: Target, group = "all"): Promise<void> {
  await admin(target, "POST", `${groups}/${group}/announcements`, {
    type: "message/rfc822",
    bytes: body,
  });
}

export async function makeGroup(target: Target, name: string): Promise<void> {
  await admin(target, "POST", groups, {
    type: "application/json",
    bytes: JSON.stringify({ name: `${name}@${domain}` }),
  });
}

export async function joinGroup(
  target: Target,
  group: string,
  members: readonly string[],
): Promise<void> {
  const left = members.values();
  await Promise.all(
    Array.from({ length: 4 * importLanes }, async () => {
      for (const member of left) {
        await admin(target, "PUT", `${groups}/${group}/members/${encodeURIComponent(member)}`);
      }
    }),
  );
}

/** The group with all that was posted goes; the next post makes a new one. */
export async function removeGroup(target: Target): Promise<void> {
  await admin(target, "DELETE", `${groups}/all`);
}

/** @throws Error when it was refused. */
async function admin(
  target: Target,
  method: string,
  path: string,
  content?: { readonly type: string; readonly bytes: string | Uint8Array<ArrayBuffer> },
): Promise<string> {
  if (target.admin === undefined) throw new Error("this target has no admin API");
  const response = await fetch(new URL(path, target.admin.url), {
    method,
    headers: {
      authorization: `Bearer ${target.admin.token}`,
      ...(content === undefined ? {} : { "content-type": content.type }),
    },
    ...(content === undefined ? {} : { body: content.bytes }),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return text;
}

/** @throws Error unless the member's mailbox has so many messages now. */
export async function expectMessages(
  target: Target,
  user: string,
  mailbox: string,
  count: number,
): Promise<void> {
  const client = await ImapClient.open(target.imap ?? 0);
  try {
    const login = await client.command(`LOGIN ${user} ${target.password}`);
    if (!login.ok) throw new Error(`${user} can't log in: ${login.tail}`);
    const { tail } = await client.command(`STATUS ${mailbox} (MESSAGES)`);
    const found = Number(/MESSAGES (\d+)/.exec(tail)?.[1]);
    if (found !== count) throw new Error(`${user} has ${found} of ${count}: ${tail}`);
  } finally {
    client.close();
  }
}
