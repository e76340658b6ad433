// The admin API's part for groups and announcements.

import { withoutUndefined } from "../../lib/without-undefined.ts";
import type { Context, Hono } from "hono";
import { z } from "zod";
import type { DirectoryRow } from "../../mail/account.ts";
import type { GroupAdmin } from "../../cluster/groups/group-admin.ts";
import { MailError } from "../../mail/errors.ts";
import { opId } from "../../mail/ids.ts";

const requestLimitMs = 55_000;
const settings = z.strictObject({
  description: z.string().max(1000).optional(),
  post: z.enum(["listed", "members", "users"]).optional(),
  posters: z.array(z.string().min(1).max(400)).max(1000).optional(),
  join: z.enum(["open", "closed"]).optional(),
  historyDays: z.int().min(0).max(0xffff_ffff).optional(),
  retentionMs: z.int().min(0).optional(),
});
const newGroup = settings.extend({ name: z.string().min(1).max(400) });
/** Numbers come as digits in the query. */
const timeMs = z
  .string()
  .regex(/^\d{1,15}$/, { error: "wants milliseconds" })
  .transform(Number);
/** The query of a post; its body is the message. */
const announcement = z.strictObject({
  id: z
    .string()
    .regex(/^[0-9a-f]{32}$/, { error: "wants 32 hex digits" })
    .optional(),
  subject: z.string().max(500).optional(),
  from: z
    .string()
    .max(500)
    .regex(/^[^\r\n]*$/, { error: "wants one line" })
    .optional(),
  expiresMs: timeMs.optional(),
  atMs: timeMs.optional(),
  /** Goes as the new one comes. */
  replaces: z.string().max(20).optional(),
});

/** Adds `/groups` and what is below. */
export function addGroupRoutes(api: Hono, groups: GroupAdmin): void {
  api.get("/groups", async (context) => context.json({ groups: (await groups.list()).map(shown) }));
  api.post("/groups", async (context) => {
    const group = withoutUndefined(newGroup.parse(await context.req.json()));
    return context.json(shown(await groups.create(group, deadline())), 201);
  });
  api.get("/groups/:name", async (context) => {
    const { row, ...figures } = await groups.show(context.req.param("name"), deadline());
    return context.json({ ...shown(row), ...figures });
  });
  api.patch("/groups/:name", async (context) => {
    const patch = withoutUndefined(settings.parse(await context.req.json()));
    return context.json(shown(await groups.update(context.req.param("name"), patch, deadline())));
  });
  api.delete("/groups/:name", async (context) => {
    await groups.remove(context.req.param("name"), deadline());
    return context.json({});
  });
  addMemberRoutes(api, groups);
  addAnnouncementRoutes(api, groups);
  for (const [path, methods] of [
    ["/groups", "GET, POST"],
    ["/groups/:name", "GET, PATCH, DELETE"],
    ["/groups/:name/members", "GET"],
    ["/groups/:name/members/:user", "PUT, DELETE"],
    ["/groups/:name/announcements", "GET, POST"],
    ["/groups/:name/announcements/:id", "DELETE"],
    ["/groups/:name/stats", "GET"],
  ] as const) {
    api.all(path, (context: Context) => {
      context.header("allow", methods);
      return context.json({ message: `this path takes ${methods}` }, 405);
    });
  }
}

function addMemberRoutes(api: Hono, groups: GroupAdmin): void {
  api.get("/groups/:name/members", async (context) => {
    const after = Number(context.req.query("after") ?? 0);
    const rows = await groups.members(
      context.req.param("name"),
      Number.isSafeInteger(after) ? after : 0,
      1000,
      deadline(),
    );
    return context.json({ members: rows.map(({ account, name }) => ({ account, name })) });
  });
  api.put("/groups/:name/members/:user", async (context) => {
    await groups.join(context.req.param("name"), context.req.param("user"), deadline());
    return context.json({});
  });
  api.delete("/groups/:name/members/:user", async (context) => {
    await groups.leave(context.req.param("name"), context.req.param("user"), deadline());
    return context.json({});
  });
}

function addAnnouncementRoutes(api: Hono, groups: GroupAdmin): void {
  api.get("/groups/:name/announcements", async (context) =>
    context.json({
      announcements: await groups.announcements(context.req.param("name"), deadline()),
    }),
  );
  api.post("/groups/:name/announcements", async (context) => {
    // The message itself is the body: JSON would be posted as it is, to everyone.
    if (/^application\/json\b/i.test(context.req.header("content-type") ?? "")) {
      return context.json(
        { message: "the body is the message, the rest goes into the query" },
        415,
      );
    }
    const most = groups.messageBytesMax;
    if (Number(context.req.header("content-length") ?? 0) > most) {
      return context.json({ message: `more than ${most} bytes (limits.messageBytes)` }, 413);
    }
    const given = withoutUndefined(announcement.parse(context.req.query()));
    const { id: given32, ...rest } = given;
    const message = bodyOf(context.req.raw);
    const what = {
      ...rest,
      message,
      ...(given32 === undefined ? {} : { id: opId(given32) }),
    };
    const id = await groups.announce(context.req.param("name"), what, deadline());
    return context.json({ id }, 201);
  });
  api.delete("/groups/:name/announcements/:id", async (context) => {
    await groups.recall(context.req.param("name"), context.req.param("id"), deadline());
    return context.json({});
  });
  api.get("/groups/:name/stats", async (context) =>
    context.json({ announcements: await groups.stats(context.req.param("name"), deadline()) }),
  );
}

/** True for a request whose body may be as large as a message. */
export function isMessageUpload({ method, path }: { method: string; path: string }): boolean {
  return method === "POST" && /\/groups\/[^/]+\/announcements$/.test(path);
}

/** @throws MailError UNAVAILABLE when the client goes away */
async function* bodyOf({ body }: Request): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  try {
    yield* body;
  } catch (cause) {
    throw new MailError({ code: "UNAVAILABLE", why: "the request broke off" }, { cause });
  }
}

function shown({ account, shard, name, aliases, state, group }: DirectoryRow) {
  return { account, shard, name, aliases, state, ...group };
}

function deadline(): AbortSignal {
  return AbortSignal.timeout(requestLimitMs);
}
