// Mutual TLS between members: who is let in, who is not; and the public certificate of `pabal dev`.

import { X509Certificate, createPrivateKey } from "node:crypto";
import { connect as connectTls, createServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  issueMember,
  issueServer,
  makeAuthority,
  makePublicTls,
} from "../../../src/cluster/link/certificates.ts";
import type { KeyAndCertificate, Validity } from "../../../src/cluster/link/certificates.ts";
import { whenUp } from "../../../src/cluster/link/link-manager.ts";
import type { LinkCredentials, LinkSecurity } from "../../../src/cluster/link/link-security.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { Members, client, cluster, describeSelf, keepingLogger, server, until } from "./support.ts";

const members = new Members();
afterEach(() => members.close());

const signal = new AbortController().signal;
const year: Validity = { nowMs: Date.now(), days: 365 };

let authority: KeyAndCertificate;
let ofServer: LinkCredentials;
let ofClient: LinkCredentials;
beforeAll(async () => {
  authority = await makeAuthority("test", year);
  ofServer = await issueMember(authority, { cluster, member: server }, year);
  ofClient = await issueMember(authority, { cluster, member: client }, year);
});

function tls(credentials: LinkCredentials): LinkSecurity {
  return { kind: "tls", credentials: () => credentials };
}

function echo(): MethodRegistry {
  const registry = new MethodRegistry();
  registry.onCall("echo", ({ head, body }) => (body === undefined ? { head } : { head, body }));
  return registry;
}

describe("members with certificates of one authority", () => {
  test("talk over TLS 1.3, bodies of every size included", async () => {
    const listening = await members.server(echo(), { security: tls(ofServer) });
    const { links } = members.manager(listening.port, { security: tls(ofClient) });
    const peer = links.peer(server);
    await whenUp(peer, AbortSignal.timeout(5000));
    for (const size of [0, 4096, 900_000]) {
      const body = Buffer.alloc(size, 7);
      const reply = await peer.call("echo", size, { body, signal });
      expect(Buffer.compare(Buffer.from(reply.body ?? []), body)).toBe(0);
    }
  });
});

test("credentials are renewed without a link being cut", async () => {
  const other = await makeAuthority("new", year);
  const ofServerThen = await issueMember(other, { cluster, member: server }, year);
  let now = ofServer;
  const security: LinkSecurity = { kind: "tls", credentials: () => now };
  const listening = await members.server(echo(), { security });
  const old = members.manager(listening.port, { security: tls(ofClient) }).links.peer(server);
  await whenUp(old, AbortSignal.timeout(5000));
  now = ofServerThen;
  listening.reloadCredentials();
  const self = describeSelf(memberId("g2"));
  const ofOther = await issueMember(other, { cluster, member: self.member }, year);
  const { links } = members.manager(listening.port, { security: tls(ofOther), self });
  await whenUp(links.peer(server), AbortSignal.timeout(5000));
  expect((await old.call("echo", "still", { signal })).head).toBe("still");
});

describe("refused with a log line is", () => {
  test("a member that says it is another than its certificate", async () => {
    const { log, lines } = keepingLogger();
    const listening = await members.server(echo(), { security: tls(ofServer), log });
    const self = describeSelf(memberId("g2"));
    const { links } = members.manager(listening.port, { security: tls(ofClient), self });
    links.peer(server);
    await until(() => lines.some(({ msg }) => msg === "link refused"), "the log");
    expect(lines.find(({ msg }) => msg === "link refused")?.why).toContain(
      'not for member "g2" of cluster "test"',
    );
    expect(listening.members).toEqual([]);
  });

  test("a server that is another than the one dialled", async () => {
    const { log, lines } = keepingLogger();
    const other = await issueMember(authority, { cluster, member: memberId("n2") }, year);
    const listening = await members.server(echo(), { security: tls(other) });
    const { links } = members.manager(listening.port, { security: tls(ofClient), log });
    links.peer(server);
    await until(() => lines.some(({ msg }) => msg === "link refused"), "the log");
    expect(lines.find(({ msg }) => msg === "link refused")?.why).toContain('not for member "n1"');
  });

  test("a member of another cluster under the same authority", async () => {
    const { log, lines } = keepingLogger();
    const foreign = await issueMember(authority, { cluster: "other", member: client }, year);
    const listening = await members.server(echo(), { security: tls(ofServer), log });
    const { links } = members.manager(listening.port, { security: tls(foreign) });
    links.peer(server);
    await until(() => lines.some(({ msg }) => msg === "link refused"), "the log");
  });

  test.each<readonly [string, () => Promise<LinkCredentials>]>([
    [
      "a certificate of another authority",
      async () => {
        const other = await makeAuthority("test", year);
        const leaf = await issueMember(other, { cluster, member: client }, year);
        return { ...leaf, ca: authority.cert };
      },
    ],
    [
      "an expired certificate",
      () =>
        issueMember(
          authority,
          { cluster, member: client },
          { nowMs: Date.now() - 10 * 86_400_000, days: 1 },
        ),
    ],
    [
      "a certificate that a leaf has signed",
      async () => {
        const leaf = { cert: ofClient.cert, key: ofClient.key };
        const below = await issueMember(leaf, { cluster, member: client }, year);
        return { ca: authority.cert, cert: below.cert + ofClient.cert, key: below.key };
      },
    ],
    [
      "a public server certificate of the same authority",
      async () => ({
        ca: authority.cert,
        ...(await issueServer(authority, ["localhost"], year)),
      }),
    ],
  ])("%s", async (_what, make) => {
    const { log, lines } = keepingLogger();
    const listening = await members.server(echo(), { security: tls(ofServer), log });
    const { links } = members.manager(listening.port, { security: tls(await make()) });
    links.peer(server);
    await until(() => lines.some(({ msg }) => msg.startsWith("link refused")), "the log");
    expect(listening.members).toEqual([]);
    expect(links.peer(server).up).toBe(false);
  });

  test("plaintext to a TLS listener", async () => {
    const { log, lines } = keepingLogger();
    const listening = await members.server(echo(), { security: tls(ofServer), log });
    members.manager(listening.port).links.peer(server);
    await until(() => lines.some(({ msg }) => msg.startsWith("link refused")), "the log");
  });
});

describe("the public certificate", () => {
  test.each(["localhost", "127.0.0.1", "::1", "mail.pabal.test"])(
    "is good for %s",
    async (name) => {
      const made = await makePublicTls(["mail.pabal.test"], year);
      const listening = createServer({ cert: made.cert, key: made.key });
      await new Promise<void>((resolve) => {
        listening.listen({ host: "127.0.0.1", port: 0 }, resolve);
      });
      const { port } = listening.address() as AddressInfo;
      await new Promise<void>((resolve, reject) => {
        const socket = connectTls({
          host: "127.0.0.1",
          port,
          ca: made.ca,
          servername: "localhost",
        });
        socket.once("secureConnect", () => {
          socket.destroy();
          resolve();
        });
        socket.once("error", reject);
      });
      listening.close();
      const certificate = new X509Certificate(made.cert);
      const fits = name.includes(":") || /^[0-9]/.test(name) ? "checkIP" : "checkHost";
      expect(certificate[fits](name)).toBe(name);
      expect(certificate[fits]("8.8.8.8")).toBeUndefined();
      expect(certificate.checkPrivateKey(createPrivateKey(made.key))).toBe(true);
    },
  );
});
