// The embedded coordinator as methods on links; remote.ts is the other end. Checks what arrives.

import { MailError } from "../../mail/errors.ts";
import { memberId } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { memberPattern } from "../link/hello.ts";
import type { RpcReply, RpcRegistry } from "../link/rpc.ts";
import type { KeyChange, KeyCondition } from "./coordinator.ts";
import type { EmbeddedCoordinator } from "./embedded.ts";

/** Method names. Heads are arrays; `null` stands for "no value". */
export const coordinatorMethod = {
  read: "coordinator.read",
  list: "coordinator.list",
  compareAndSet: "coordinator.compareAndSet",
  watch: "coordinator.watch",
  readBarrier: "coordinator.readBarrier",
  acquireLease: "coordinator.acquireLease",
  renewLease: "coordinator.renewLease",
  releaseLease: "coordinator.releaseLease",
} as const;

const keysMax = 64;

/** Answers coordinator requests of other members from `coordinator`. */
export function serveCoordinator(registry: RpcRegistry, coordinator: EmbeddedCoordinator): void {
  registry.onCall(coordinatorMethod.read, async ({ head }) => {
    const keys = list(head).map(text);
    if (keys.length > keysMax) throw invalid();
    const states = await coordinator.read(keys);
    return { head: states.map((state) => (state ? [state.value, state.revision] : null)) };
  });
  registry.onCall(coordinatorMethod.list, async ({ head }) => {
    const { entries, revision } = await coordinator.list(text(head));
    const packed = entries.map((entry) => [entry.key, entry.value, entry.revision]);
    return { head: [revision, packed] };
  });
  registry.onCall(coordinatorMethod.compareAndSet, async ({ head }) => {
    const { ok, revision } = await coordinator.compareAndSet(list(head).map(condition));
    return { head: [ok, revision] };
  });
  registry.onStream(coordinatorMethod.watch, ({ head, signal }) => {
    const [prefix, fromRevision] = list(head);
    return transactions(coordinator.watch(text(prefix), count(fromRevision), signal));
  });
  registry.onCall(coordinatorMethod.readBarrier, async () => ({
    head: await coordinator.readBarrier(),
  }));
  registry.onCall(coordinatorMethod.acquireLease, async ({ head }) => {
    const [member, ttlMs] = list(head);
    return { head: await coordinator.acquireLease(memberOf(member), count(ttlMs)) };
  });
  registry.onCall(coordinatorMethod.renewLease, async ({ head }) => {
    const [member, incarnation] = list(head);
    return { head: await coordinator.renewLease(memberOf(member), count(incarnation)) };
  });
  registry.onCall(coordinatorMethod.releaseLease, async ({ head }) => {
    const [member, incarnation] = list(head);
    await coordinator.releaseLease(memberOf(member), count(incarnation));
    return { head: null };
  });
}

/** One item a transaction, so that a cut link never leaves half of one. */
async function* transactions(changes: AsyncIterable<KeyChange>): AsyncGenerator<RpcReply> {
  let group: (readonly [string, string | null])[] = [];
  for await (const { key, value, revision, more } of changes) {
    group.push([key, value ?? null]);
    if (more) continue;
    yield { head: [revision, group] };
    group = [];
  }
}

function condition(value: unknown): KeyCondition {
  const [key, ifRevision, wanted] = list(value);
  return {
    key: text(key),
    ifRevision: count(ifRevision),
    value: wanted === null ? undefined : text(wanted),
  };
}

function memberOf(value: unknown): MemberId {
  const name = text(value);
  if (!memberPattern.test(name)) throw invalid();
  return memberId(name);
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid();
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw invalid();
  return value;
}

function count(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw invalid();
  return value;
}

function invalid(): MailError {
  return new MailError({ code: "INVALID", why: "coordinator request" });
}
