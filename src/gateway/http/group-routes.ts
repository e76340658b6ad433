// The admin API's part for groups and announcements.

import { withoutUndefined } from "../../lib/without-undefined.ts";
import type { Context, Hono } from "hono";
import { z } from "zod";
import type { DirectoryRow } from "../../mail/account.ts";
import type { GroupAdmin } from "../../cluster/groups/group-admin.ts";
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
const timeMs = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const announcement = z.strictObject({
  /** Base64: a message may have any bytes. */
  message: z.base64(),
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
  /** Recalled once the new one is posted. */
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
    const given = withoutUndefined(announcement.parse(await context.req.json()));
    const { message, id: given32, replaces, ...rest } = given;
    const what = {
      ...rest,
      message: Buffer.from(message, "base64"),
      ...(given32 === undefined ? {} : { id: opId(given32) }),
    };
    const name = context.req.param("name");
    const id = await groups.announce(name, what, deadline());
    // In this order: members see both for a moment, never neither.
    if (replaces !== undefined) await groups.recall(name, replaces, deadline());
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

function shown({ account, shard, name, aliases, state, group }: DirectoryRow) {
  return { account, shard, name, aliases, state, ...group };
}

function deadline(): AbortSignal {
  return AbortSignal.timeout(requestLimitMs);
}
