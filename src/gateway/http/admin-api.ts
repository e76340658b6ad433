// The admin API under /admin/v1 (JSON, bearer token): accounts and cluster status. The command line
// and outside programs use it; it keeps no state of its own.

import { withoutUndefined } from "../../lib/without-undefined.ts";
import { createHash, timingSafeEqual } from "node:crypto";
import { Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import type { AccountAdmin } from "../../cluster/directory/account-admin.ts";
import { isMailError, type MailFailure } from "../../mail/errors.ts";
import { unreachable } from "../../lib/assert.ts";
import { addClusterRoutes, type ClusterAdmin } from "./cluster-routes.ts";
import type { GroupAdmin } from "../../cluster/groups/group-admin.ts";
import { addGroupRoutes, isMessageUpload } from "./group-routes.ts";

export interface AdminServices {
  readonly accounts: AccountAdmin;
  /** Shards, members, links and loads as this gateway sees them; JSON-able. */
  readonly status: () => Promise<unknown>;
  /** Without it the routes are not there. */
  readonly cluster?: ClusterAdmin;
  /** Without it the routes are not there. */
  readonly groups?: GroupAdmin;
  /** Bearer token; undefined: the admin API answers 404. */
  readonly token: string | undefined;
}

const requestLimitMs = 55_000;
const bodyBytesMax = 4 * 1024 * 1024;
const name = z.string().min(1).max(400);
const password = z.string().min(1).max(1024);
const quota = z.int().min(0);
const aliases = z.array(name).max(100);
const profile = z.record(z.string().max(100), z.string().max(1000));
const newAccount = z.strictObject({
  name,
  password: password.optional(),
  hash: z.string().max(1024).optional(),
  aliases: aliases.optional(),
  quotaBytes: quota.optional(),
  quotaMessages: quota.optional(),
  profile: profile.optional(),
});
const patch = newAccount.omit({ name: true }).extend({ disabled: z.boolean().optional() });

/** The routes, relative to where they are mounted. */
export function adminApi(services: AdminServices): Hono {
  const api = new Hono();
  // The token comes first: without it not a byte of a body is read.
  api.use("*", checkToken(services.token));
  const limited = bodyLimit({
    maxSize: bodyBytesMax,
    onError: (context) => context.json({ message: `more than ${bodyBytesMax} bytes` }, 413),
  });
  // Messages are taken as they come, and have a limit of their own.
  const fitting: MiddlewareHandler = async (context, next) => {
    if (!isMessageUpload(context.req)) return limited(context, next);
    await next();
    // The rest of a refused message is not read: nothing else can come on this connection.
    if (context.res.status >= 400) context.header("connection", "close");
    return undefined;
  };
  api.use("*", fitting);
  api.get("/status", async (context) => {
    context.header("content-type", "application/json");
    return context.body(JSON.stringify(await services.status()));
  });
  addUserRoutes(api, services.accounts);
  if (services.cluster !== undefined) addClusterRoutes(api, services.cluster);
  if (services.groups !== undefined) addGroupRoutes(api, services.groups);
  for (const [path, methods] of [
    ["/status", "GET"],
    ["/users", "GET, POST"],
    ["/users/import", "POST"],
    ["/users/:name", "GET, PATCH, DELETE"],
    ["/users/:name/app-passwords", "POST"],
    ["/users/:name/app-passwords/:label", "DELETE"],
  ] as const) {
    api.all(path, (context) => {
      context.header("allow", methods);
      return context.json({ message: `this path takes ${methods}` }, 405);
    });
  }
  api.onError((error, context) => {
    const known = answerTo(error);
    if (known === undefined) throw error;
    const { status, ...body } = known;
    return context.json(body, status);
  });
  return api;
}

function checkToken(token: string | undefined): MiddlewareHandler {
  return async (context, next) => {
    if (token === undefined || token === "") {
      return context.json({ message: "the admin API is off: set admin.tokenFile" }, 404);
    }
    if (!tokenMatches(context.req.header("authorization"), token)) {
      context.header("www-authenticate", "Bearer");
      return context.json({ message: "the admin token is missing or wrong" }, 401);
    }
    await next();
    return undefined;
  };
}

function addUserRoutes(api: Hono, accounts: AccountAdmin): void {
  api.get("/users", async (context) => {
    const rows = await accounts.list(context.req.query("after") ?? "", 1000);
    return context.json({ users: rows.map(({ credentials: _hidden, ...row }) => row) });
  });
  api.post("/users", async (context) => {
    const account = withoutUndefined(newAccount.parse(await context.req.json()));
    const { credentials: _hidden, ...row } = await accounts.create(account, deadline());
    return context.json(row, 201);
  });
  api.post("/users/import", async (context) => {
    const { users } = z
      .strictObject({ users: z.array(newAccount).max(1000) })
      .parse(await context.req.json());
    return context.json({
      results: await accounts.importBatch(users.map(withoutUndefined), deadline()),
    });
  });
  api.get("/users/:name", async (context) =>
    context.json(await accounts.show(context.req.param("name"), deadline())),
  );
  api.patch("/users/:name", async (context) => {
    const change = withoutUndefined(patch.parse(await context.req.json()));
    const { credentials: _hidden, ...row } = await accounts.update(
      context.req.param("name"),
      change,
      deadline(),
    );
    return context.json(row);
  });
  api.post("/users/:name/app-passwords", async (context) => {
    const { label } = z.strictObject({ label: z.string() }).parse(await context.req.json());
    const name = context.req.param("name");
    return context.json({ password: await accounts.addAppPassword(name, label, deadline()) }, 201);
  });
  api.delete("/users/:name/app-passwords/:label", async (context) => {
    const { name, label } = context.req.param();
    await accounts.removeAppPassword(name, label, deadline());
    return context.json({});
  });
  api.delete("/users/:name", async (context) => {
    await accounts.remove(context.req.param("name"), deadline());
    return context.json({});
  });
}

function deadline(): AbortSignal {
  return AbortSignal.timeout(requestLimitMs);
}

/** Constant time in the token's content; digests make the lengths equal. */
function tokenMatches(header: string | undefined, token: string): boolean {
  const given = /^Bearer (.+)$/.exec(header ?? "")?.[1] ?? "";
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

interface Answer {
  readonly status: 400 | 404 | 409 | 500 | 503;
  readonly code?: string;
  readonly message: string;
}

/** Undefined: our own bug, which the log tells and the client does not. */
function answerTo(error: unknown): Answer | undefined {
  if (error instanceof z.ZodError) {
    const [first] = error.issues;
    const where = first?.path.join(".") ?? "";
    const why = (first?.message ?? "wrong").replace(/^Invalid input: /, "");
    return { status: 400, message: where === "" ? why : `${where}: ${why}` };
  }
  if (error instanceof SyntaxError) return { status: 400, message: "the request is no JSON" };
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return { status: 503, code: "UNAVAILABLE", message: "not now: it took too long, try again" };
  }
  if (isMailError(error)) return { code: error.code, ...answer(error.failure) };
  return undefined;
}

function answer(failure: MailFailure): Answer {
  switch (failure.code) {
    case "NO_SUCH_ACCOUNT":
      return { status: 404, message: "no such user or group" };
    case "NAME_TAKEN":
      return { status: 409, message: `${failure.name} is taken` };
    case "INVALID":
      return { status: 400, message: failure.why };
    case "CONFLICT":
      return { status: 409, message: failure.why };
    case "LIMIT":
      return { status: 400, message: `more than ${failure.most} (${failure.limit})` };
    case "UNAVAILABLE":
      return { status: 503, message: `not now: ${failure.why}` };
    case "REPLICA_UNREACHABLE":
    case "WRONG_NODE":
      return { status: 503, message: "not now: the shard's mail nodes can't make two copies" };
    case "BUSY":
      return { status: 503, message: `not now: ${failure.what} is full` };
    case "DISK_FULL":
      return { status: 503, message: "not now: a mail node's disk is full" };
    case "ACCOUNT_DISABLED":
    case "STALE_CREDENTIALS":
    case "NO_SUCH_MAILBOX":
    case "MAILBOX_EXISTS":
    case "MAILBOX_HAS_CHILDREN":
    case "BAD_MAILBOX_NAME":
    case "MAILBOX_GONE":
    case "OVER_QUOTA":
    case "NO_PERMISSION":
    case "IN_USE":
    case "BAD_CHARSET":
    case "UNKNOWN_ENCODING":
    case "DAMAGED":
      return { status: 500, message: `unexpected: ${failure.code}` };
    default:
      return unreachable(failure);
  }
}
