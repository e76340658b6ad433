// fetchmail collects mail by POP3 (UIDL, keep and delete) and IMAP, in plaintext and over TLS, and
// hands it to a delivery program; what that got is compared with what is stored.

import { readdirSync, readFileSync, mkdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { awkward, flow, message, readMailbox, run, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;

beforeAll(async () => {
  scratch = new Scratch();
  cluster = await DevCluster.start({ users: 4 });
});
afterAll(async () => {
  await cluster.destroy();
  scratch.remove();
});

const retrieved = 0;
const noMail = 1;
const refused = 3;

/** Status of one run: 0 with mail, 1 without, 3 for a refused login. */
async function fetchmail(user: string, server: string, options: string): Promise<number> {
  const out = scratch.path(`${user}-mail`);
  mkdirSync(out, { recursive: true });
  // Numbered by what is there already: fetchmail delivers one after the other.
  const mda = scratch.write(`${user}-mda`, `cat > ${out}/$(ls ${out} | wc -l)\n`);
  const password = options.includes("password") ? "" : 'password "secret"';
  const text = `poll localhost ${server} user "${user}" ${password} ${options} mda "sh ${mda}"\n`;
  const file = scratch.write(`${user}-rc`, text);
  const ids = ["--idfile", scratch.path(`${user}-ids`), "--pidfile", scratch.path(`${user}-pid`)];
  const args = ["-f", file, ...ids, "--nodetach", "--nosyslog", "--invisible", "--norewrite"];
  const { status, stderr, stdout } = await run("fetchmail", args, {
    env: { HOME: scratch.folder, LC_ALL: "C" },
  });
  if (status > refused)
    throw new Error(`fetchmail ended with ${status}: ${stderr}${stdout.toString()}`);
  return status;
}

/** What the delivery program got, with CRLF line ends again. */
function delivered(user: string): readonly string[] {
  const folder = scratch.path(`${user}-mail`);
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(`${folder}/${name}`, "utf8").replaceAll(/\r?\n/g, "\r\n"));
}

async function add(user: string, ...messages: readonly Buffer[]): Promise<void> {
  const client = flow(cluster.gateway("g1").imap, user);
  await client.connect();
  for (const bytes of messages) await client.append("INBOX", bytes);
  await client.logout();
}

async function stored(user: string): Promise<readonly string[]> {
  return (await readMailbox(cluster.gateway("g1").imap, user)).map((bytes) => bytes.toString());
}

const first = message("first", ["one"]);
const second = message("second", ["two"]);

describe("fetchmail, POP3", () => {
  test("keep: each message comes once, by its UIDL, and stays", async () => {
    const server = `protocol pop3 port ${cluster.gateway("g2").pop3} uidl`;
    const options = "keep sslproto ''";
    await add("u1", awkward, first);
    expect(await fetchmail("u1", server, options)).toBe(retrieved);
    expect(delivered("u1")).toEqual([awkward.toString(), first.toString()]);
    expect(await fetchmail("u1", server, options)).toBe(noMail);
    await add("u1", second);
    expect(await fetchmail("u1", server, options)).toBe(retrieved);
    expect(delivered("u1")).toEqual([awkward, first, second].map((bytes) => bytes.toString()));
    expect(await stored("u1")).toHaveLength(3);
    // The other gateway gives the same UIDLs: nothing is new there.
    const other = server.replace(/port \d+/, `port ${cluster.gateway("g1").pop3}`);
    expect(await fetchmail("u1", other, options)).toBe(noMail);
  });

  test("no keep, over TLS with a verified certificate: collected mail is gone", async () => {
    const server = `protocol pop3 port ${cluster.gateway("g2").pop3s}`;
    const options = `nokeep ssl sslcertck sslcertfile "${cluster.ports.tls.ca}"`;
    await add("u2", awkward, first);
    expect(await fetchmail("u2", server, options)).toBe(retrieved);
    expect(delivered("u2")).toEqual([awkward.toString(), first.toString()]);
    expect(await stored("u2")).toEqual([]);
    expect(await fetchmail("u2", server, options)).toBe(noMail);
  });

  test("a wrong password is an authentication failure", async () => {
    const server = `protocol pop3 port ${cluster.gateway("g2").pop3}`;
    expect(await fetchmail("u4", server, `password "wrong" sslproto ''`)).toBe(refused);
  });
});

describe("fetchmail, IMAP", () => {
  test("keep: marks what it has collected; no keep after STARTTLS: expunges it", async () => {
    const server = `protocol imap port ${cluster.gateway("g2").imap}`;
    await add("u3", awkward, first);
    expect(await fetchmail("u3", server, "keep sslproto ''")).toBe(retrieved);
    expect(delivered("u3")).toEqual([awkward.toString(), first.toString()]);
    expect(await fetchmail("u3", server, "keep sslproto ''")).toBe(noMail);
    await add("u3", second);
    const tls = `sslproto "auto" sslcertck sslcertfile "${cluster.ports.tls.ca}"`;
    expect(await fetchmail("u3", server, `nokeep fetchall ${tls}`)).toBe(retrieved);
    expect(delivered("u3")).toHaveLength(5);
    expect(await stored("u3")).toEqual([]);
  });
});
