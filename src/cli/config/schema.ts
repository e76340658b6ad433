// Every configuration key, its type, its default and its meaning: the one table that the loader,
// `pabal config show`, docs/config.md and the JSON Schema are made from.

import { z } from "zod";
import { isNetwork } from "../../gateway/proxy-protocol.ts";
import { saslMechanisms } from "../../gateway/sasl/mechanisms.ts";
import { crossChecks } from "./cross-checks.ts";
import { parseDuration, parseSize } from "./units.ts";

const wantsDuration = "wants a duration with a unit, such as 500ms, 10s, 5m or 30d";
const wantsSize = "wants a size with a unit, such as 64KiB or 50MiB";

const duration = (text: string, about: string) =>
  z
    .string({ error: wantsDuration })
    .refine((value) => parseDuration(value) !== undefined, {
      error: wantsDuration,
    })
    .transform((value) => parseDuration(value) ?? 0)
    .prefault(text)
    .meta({ description: about, unit: "duration" });

const size = (text: string, about: string) =>
  z
    .string({ error: wantsSize })
    .refine((value) => parseSize(value) !== undefined, {
      error: wantsSize,
    })
    .transform((value) => parseSize(value) ?? 0)
    .prefault(text)
    .meta({ description: about, unit: "size" });

const count = (value: number, about: string, least = 1) =>
  z.int().min(least).prefault(value).meta({ description: about });

const text = (about: string) => z.string().min(1).meta({ description: about });

const memberName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, {
  error: "wants a lower-case letter, then up to 31 letters, digits or hyphens",
});

const hostPort = z.string().regex(/^(?:\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, {
  error: "wants host:port",
});

const place = {
  address: z.string().min(1).prefault("127.0.0.1").meta({ description: "Address to listen on" }),
  port: z.int().min(0).max(65_535).meta({ description: "Port; 0 takes a free one" }),
  advertise: hostPort.optional().meta({ description: "host:port that others should use instead" }),
};

const listener = (about: string) => z.strictObject(place).optional().meta({ description: about });

const mailListener = (about: string) =>
  z
    .strictObject({
      ...place,
      trustedProxies: z
        .array(z.string().refine(isNetwork, { error: "wants an address or network (10.0.0.0/8)" }))
        .prefault([])
        .meta({
          description:
            "Addresses and networks of load balancers, whose PROXY headers say who the client is",
        }),
    })
    .optional()
    .meta({ description: about });

const cluster = z
  .strictObject({
    id: text("Name of the cluster; members of another one are refused"),
    minCopies: z
      .union([z.literal(1), z.literal(2)])
      .prefault(2)
      .meta({
        description:
          "Machines on which a message must be fsynced before it is acknowledged. 1 risks mail: an acknowledged message may exist on one machine only",
      }),
    shardsPerNode: count(16, "Shards per node at `init`; fixed afterwards"),
    allowSameMachine: z.boolean().prefault(false).meta({
      description:
        "`cluster init` may put both copies of a shard into one failure domain where there is no other (tests, one machine)",
    }),
    coordinator: z
      .strictObject({
        kind: z.enum(["embedded", "etcd"]).prefault("embedded").meta({
          description:
            "embedded: one process with its own fsynced log, for one machine. etcd: for several machines",
        }),
        member: memberName
          .prefault("c1")
          .meta({ description: "Member id of the coordinator process (embedded)" }),
        address: hostPort
          .optional()
          .meta({ description: "Link address of the coordinator process (embedded)" }),
        endpoints: z
          .array(hostPort)
          .max(9)
          .prefault([])
          .meta({ description: "Client addresses of the etcd servers (etcd)" }),
        ca: text("Certificate authority of etcd (PEM file); without it, plain text").optional(),
        cert: text("Client certificate for etcd (PEM file)").optional(),
        key: text("Client key for etcd (PEM file)").optional(),
        username: text("User of etcd, where it asks for one").optional(),
        passwordFile: text("File that holds the password of etcd's user").optional(),
      })
      .meta({ description: "Where the shard table is kept" }),
    link: z
      .strictObject({
        plaintext: z
          .boolean()
          .prefault(false)
          .meta({ description: "No TLS between members; allowed on loopback addresses only" }),
        ca: text("Certificate authority of the cluster (PEM file)").optional(),
        cert: text("This member's certificate (PEM file)").optional(),
        key: text("This member's private key (PEM file)").optional(),
      })
      .prefault({})
      .meta({ description: "TLS between members (mutual, TLS 1.3, the cluster's own authority)" }),
    routes: z
      .record(
        memberName,
        z.record(
          memberName,
          z.strictObject({ link: hostPort.optional(), pulse: hostPort.optional() }),
        ),
      )
      .prefault({})
      .meta({
        description:
          "`FROM: {TO: {link: host:port, pulse: host:port}}`: where member FROM reaches member TO, when that is not what TO announces (address translation, relays in tests)",
      }),
  })
  .meta({ description: "The cluster that this member belongs to; the same in all its files" });

const member = z
  .strictObject({
    id: memberName.meta({ description: "Name of this member, unique in the cluster" }),
    role: z.enum(["gateway", "node", "coordinator"]).meta({ description: "What this process is" }),
    dataDir: text("Folder that this member alone uses"),
    failureDomain: text(
      "Machine, rack or site. Two copies of a shard never share one while a node in another can take the copy; else they may, which is alarmed. The machine's name when absent",
    ).optional(),
  })
  .meta({ description: "This process" });

const listen = z
  .strictObject({
    smtp: mailListener("SMTP from other mail servers (25)"),
    submission: mailListener("Submission with STARTTLS (587)"),
    submissions: mailListener("Submission with implicit TLS (465)"),
    lmtp: mailListener("LMTP from a mail server in front"),
    imap: mailListener("IMAP with STARTTLS (143)"),
    imaps: mailListener("IMAP with implicit TLS (993)"),
    pop3: mailListener("POP3 with STLS (110)"),
    pop3s: mailListener("POP3 with implicit TLS (995)"),
    http: listener("Health, metrics and admin API"),
    link: listener("Links between members (coordinator, nodes and gateways)"),
    pulse: listener(
      "Heartbeats and the gateways' ring (UDP); the address and port number of `link` when absent",
    ),
  })
  .prefault({})
  .meta({ description: "Where to listen; what is absent is not listened for" });

const oauth = z
  .strictObject({
    introspection: z
      .strictObject({
        url: z.url().meta({ description: "Asked about each token. RFC 7662" }),
        clientId: text("Our name at the identity provider"),
        clientSecret: text("Our password there; `${file:…}` keeps it out of this file"),
      })
      .optional()
      .meta({ description: "Ask the identity provider; this or `jwks`" }),
    jwks: z
      .strictObject({
        url: z.url().meta({ description: "Where the identity provider publishes its keys" }),
        issuer: text("Who must have issued a token"),
        audience: text("For whom a token must be issued"),
      })
      .optional()
      .meta({ description: "Check signed tokens (JWT) here" }),
    loginClaim: text("Claim that holds the login name").prefault("email"),
    scope: text("Scope that a token must have").optional(),
    cacheAge: duration("60s", "How long a good token is not asked about again"),
  })
  .meta({ description: "Bearer tokens of an identity provider. RFC 7628" });

const auth = z
  .strictObject({
    plaintextOnLoopback: z
      .boolean()
      .prefault(false)
      .meta({ description: "Allow passwords without TLS from loopback" }),
    hashMemory: size("19MiB", "argon2id memory per hash"),
    hashPasses: count(2, "argon2id passes"),
    hashQueueMax: count(256, "Password checks that may wait; more are told to try later"),
    verifiedCacheMax: count(100_000, "Verified credentials remembered in memory"),
    verifiedCacheAge: duration("10m", "How long a verified credential is remembered"),
    guessesPerMinute: count(
      20,
      "Wrong passwords a minute per address and per account before delays",
    ),
    mechanisms: z
      .array(z.enum(saslMechanisms))
      .min(1)
      .prefault(["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
      .meta({
        description:
          "SASL mechanisms of IMAP, POP3 and submission; OAUTHBEARER and XOAUTH2 are offered with `auth.oauth`",
      }),
    scramIterations: z.number().int().min(4096).max(1_000_000).prefault(100_000).meta({
      description:
        "PBKDF2 iterations of the keys for SCRAM, which are made at each new password and at the next login by PLAIN while SCRAM is among the mechanisms",
    }),
    oauth: oauth.optional(),
  })
  .prefault({})
  .meta({ description: "Passwords and logins" });

const directory = z
  .strictObject({
    cacheMax: count(100_000, "Directory rows kept in memory"),
    freshness: duration("1s", "Age of a shard's stream up to which `no such user` may be said"),
  })
  .prefault({})
  .meta({ description: "The replica of all accounts that every gateway has" });

const disk = z
  .strictObject({
    mailFree: z.number().min(0).max(50).prefault(5).meta({
      description:
        "Percent of the data folder's file system: with less free, a node takes no new mail (452, NO); deletions, flags and reads go on",
    }),
    copyFree: z.number().min(0).max(90).prefault(10).meta({
      description: "Percent: with less free, no new copy of a shard is made on the node",
    }),
    floor: size(
      "128MiB",
      "With less than this free a node takes no new mail, too; on a small disk an eighth of it",
    ),
    ballast: size(
      "64MiB",
      "File that is given up when the disk is full, so that deletions and a restart find room; on a small disk a sixteenth of it",
    ),
    copyAfter: duration(
      "30s",
      "While a lost node may return and be brought up by its log, a full copy to another one waits for so long; new mail is on two disks meanwhile",
    ),
    copyRate: size("32MiB", "Bytes a second of each copy of a shard that a node hands out"),
    scrubEvery: duration("7d", "From the end of one reading of everything to the next"),
    scrubRate: size("8MiB", "Bytes a second that are read to find damage"),
  })
  .prefault({})
  .meta({ description: "The disk of a mail node" });

const limits = z
  .strictObject({
    messageBytes: size("50MiB", "Largest message"),
    recipients: count(1000, "Recipients per message"),
    hops: count(50, "Received fields before a message counts as looping"),
    badCommands: count(10, "Wrong commands before a session ends"),
    unknownRecipients: count(100, "Unknown recipients before an SMTP session ends"),
    smtpLineBytes: size("2KiB", "Longest SMTP command line"),
    textLineBytes: size("64KiB", "Longest line in a message that is accepted"),
    authLineBytes: size("16KiB", "Longest line of an authentication exchange"),
    imapCommandBytes: size("64KiB", "Longest IMAP command after login, literals of APPEND apart"),
    imapCommandBytesBeforeLogin: size("8KiB", "Longest IMAP command before login"),
    imapNesting: count(32, "Depth of parentheses in an IMAP command"),
    memory: size(
      "1TiB",
      "Memory of a gateway; at 80 % of it, or of what the system allows, new connections are refused",
    ),
    outputBytes: size("1MiB", "Unsent output of a session before it stops reading"),
    sessionsPerUser: count(20, "IMAP sessions of one user"),
    sessionsPerAddress: count(50, "Connections of one address; loopback is exempt"),
    mailboxes: count(10_000, "Mailboxes per account"),
    authTimeout: duration("60s", "From greeting to authentication"),
    commandTimeout: duration("5m", "To read one command"),
    handshakeTimeout: duration("10s", "TLS handshake"),
    idleTimeout: duration("30m", "IMAP and POP3 session without a command"),
    stuckTimeout: duration("5m", "Client that does not take its output"),
    drain: duration("5s", "Time that sessions get at shutdown"),
    rpc: duration("30s", "How long a command waits for a mail node to come back"),
  })
  .prefault({})
  .meta({ description: "What one client, user or message may take; a refusal names the key" });

const smtp = z
  .strictObject({
    bareNewlines: z.enum(["normalise", "reject"]).prefault("normalise").meta({
      description:
        "A CR or LF alone in a message: made CRLF, or the message refused. Neither ever ends it",
    }),
    channelBinding: z.boolean().prefault(false).meta({
      description:
        "Offer SCRAM-SHA-256-PLUS for submission, too. NeoMutt over GNU SASL (Debian 12) takes it without being able to bind, and then sends nothing",
    }),
    greetingDelay: duration("0ms", "Wait before the greeting; who talks earlier is refused"),
    spoolAfter: duration(
      "2s",
      "How long a mail node that is away is waited for before its recipients' mail is kept elsewhere",
    ),
  })
  .prefault({})
  .meta({ description: "SMTP, submission and LMTP" });

/** The whole configuration of one member. */
export const configSchema = z
  .strictObject({
    cluster,
    member,
    listen,
    hostName: text("Host name in greetings and Received; the machine's own when absent").optional(),
    tls: z
      .strictObject({
        cert: text("Certificate chain for clients (PEM file)"),
        key: text("Private key for it (PEM file)"),
      })
      .optional()
      .meta({ description: "TLS towards clients; without it no STARTTLS is offered" }),
    domains: z
      .array(z.string().regex(/^[^\s@]+\.?[^\s@]*$/, { error: "wants a domain name" }))
      .prefault([])
      .meta({ description: "Mail domains; the first completes a bare login" }),
    directory,
    auth,
    disk,
    limits,
    smtp,
    groups: z
      .strictObject({
        folder: text("Folder of announcements; follows the locale when absent").optional(),
        notifyRate: count(
          2000,
          "Idle sessions that a gateway tells of an announcement, a second; the rest wait their turn",
        ),
        cache: size("64MiB", "Memory of a gateway for announcements that many members read"),
      })
      .prefault({})
      .meta({ description: "Announcements" }),
    locale: z
      .enum(["en", "ko"])
      .prefault("en")
      .meta({ description: "Language of default folder names" }),
    log: z
      .strictObject({
        level: z
          .enum(["error", "warn", "info", "debug", "trace"])
          .prefault("info")
          .meta({ description: "Least severe lines to log" }),
        pretty: z.boolean().prefault(false).meta({ description: "For people instead of JSON" }),
      })
      .prefault({})
      .meta({ description: "Log, JSON lines on standard output" }),
    admin: z
      .strictObject({
        url: text("Where the command line finds the admin API").optional(),
        tokenFile: text("File with the admin token; without it the admin API is off").optional(),
      })
      .prefault({})
      .meta({ description: "Admin API, on the http listener of gateways" }),
  })
  .superRefine(crossChecks);

export type Config = z.output<typeof configSchema>;
