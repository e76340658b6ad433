// The change of an account whose parts lie in several shards (names here and there, the registration
// elsewhere) as a machine without I/O: told what was answered, it says what to ask next. Its durable
// form stands in the claim of the name that drives it, so a crash anywhere resumes from `startSaga`.
// Every step may be repeated: each asks for a state, not for a change. Leaves retries to saga-runner.ts.

import { unreachable } from "../../lib/assert.ts";
import type { MailFailure } from "../../mail/errors.ts";
import type { AccountId, OpId, ShardId } from "../../mail/ids.ts";
import type { Registration } from "../../mail/account.ts";
import type { RegistrationPatch } from "./registration-patch.ts";

/** Why a change was taken back; told to its author. */
export type SagaFailure = Extract<
  MailFailure,
  { code: "NAME_TAKEN" } | { code: "INVALID" } | { code: "CONFLICT" } | { code: "NO_SUCH_ACCOUNT" }
>;

export type SagaWork =
  | { readonly kind: "create"; readonly registration: Registration }
  | { readonly kind: "change"; readonly patch: RegistrationPatch }
  | { readonly kind: "remove" };

/** What stays in the log until the change is through or taken back. */
export interface Saga {
  /** The author's operation id: names the account's entry, so that it is done once. */
  readonly id: OpId;
  /** The primary name; its claim holds this record. */
  readonly name: string;
  readonly account: AccountId;
  /** Where the account lives or will. */
  readonly shard: ShardId;
  readonly work: SagaWork;
  /** Names to claim before, and names to release behind if the account lacks them, besides `name` itself. */
  readonly add: readonly string[];
  readonly drop: readonly string[];
  /** Set once the change is being taken back. */
  readonly failure: SagaFailure | undefined;
}

export type SagaPhase = "claim" | "put" | "release" | "saveUndo" | "undo" | "finish" | "done";

export interface SagaRun {
  readonly saga: Saga;
  readonly phase: SagaPhase;
  /** Questions not yet answered: names, or "" for the account itself. */
  readonly open: ReadonlySet<string>;
  /** Highest UIDVALIDITY ever given under the names, or in the account that goes. */
  readonly floor: number;
  readonly failure: SagaFailure | undefined;
}

export type SagaEvent =
  | { readonly kind: "claimed"; readonly name: string; readonly floor: number }
  | { readonly kind: "taken"; readonly name: string }
  | { readonly kind: "released"; readonly name: string }
  /**
   * The account is as asked, now or since an earlier try, and has these names; none when it is gone.
   * `floor`: highest UIDVALIDITY ever given in it.
   */
  | { readonly kind: "put"; readonly floor: number; readonly names: readonly string[] }
  | { readonly kind: "refused"; readonly failure: SagaFailure }
  | { readonly kind: "saved" };

export type SagaEffect =
  /** Ask the name's shard; again until it answers. */
  | { readonly kind: "claim"; readonly name: string }
  | { readonly kind: "release"; readonly name: string; readonly floor: number }
  /** Ask the account's shard to create, change or remove it. */
  | { readonly kind: "put"; readonly floor: number }
  /** Ask the account's shard never to create it. */
  | { readonly kind: "fence" }
  /** Write the saga into its claim, as it stands now. */
  | { readonly kind: "save"; readonly saga: Saga }
  /** Write the claim without the saga; released when `floor` is given, else confirmed. */
  | { readonly kind: "finish"; readonly release: { readonly floor: number } | undefined }
  | { readonly kind: "answer"; readonly failure: SagaFailure | undefined };

export type SagaStep = readonly [SagaRun, readonly SagaEffect[]];

/** Begins or resumes. `floor` is that of the saga's own name. */
export function startSaga(saga: Saga, floor: number): SagaStep {
  const run: SagaRun = { saga, phase: "claim", open: new Set(), floor, failure: saga.failure };
  if (saga.failure !== undefined) return undo(run);
  if (saga.add.length === 0) return put(run);
  return ask({ ...run, open: new Set(saga.add) }, (name) => ({ kind: "claim", name }));
}

/** An answer to a question that is no longer open, or of another phase, changes nothing. */
export function stepSaga(run: SagaRun, event: SagaEvent): SagaStep {
  switch (event.kind) {
    case "claimed":
    case "taken": {
      if (run.phase !== "claim" || !run.open.has(event.name)) return [run, []];
      const taken = event.kind === "taken";
      const next: SagaRun = {
        ...without(run, event.name),
        floor: taken ? run.floor : Math.max(run.floor, event.floor),
        failure: run.failure ?? (taken ? { code: "NAME_TAKEN", name: event.name } : undefined),
      };
      if (next.open.size > 0) return [next, []];
      return next.failure === undefined ? put(next) : saveUndo(next);
    }
    case "put": {
      if (run.phase === "undo") return closed(run, "");
      if (run.phase !== "put") return [run, []];
      return release({ ...run, floor: Math.max(run.floor, event.floor) }, event.names);
    }
    case "refused":
      if (run.phase !== "put") return [run, []];
      return saveUndo({ ...run, failure: event.failure });
    case "released":
      if (run.phase !== "release" && run.phase !== "undo") return [run, []];
      return closed(run, event.name);
    case "saved":
      if (run.phase === "saveUndo") return undo(run);
      if (run.phase !== "finish") return [run, []];
      return [{ ...run, phase: "done" }, [{ kind: "answer", failure: run.failure }]];
    default:
      return unreachable(event);
  }
}

function put(run: SagaRun): SagaStep {
  return [{ ...run, phase: "put", open: new Set([""]) }, [{ kind: "put", floor: run.floor }]];
}

/** Nothing is taken back before the log says that it will be: a resumed run must not go forward again. */
function saveUndo(run: SagaRun): SagaStep {
  const saga: Saga = { ...run.saga, failure: run.failure };
  return [{ ...run, saga, phase: "saveUndo", open: new Set() }, [{ kind: "save", saga }]];
}

/**
 * Releases what was claimed and, for a new account, forbids its creation for ever: a request to
 * create it may still be under way from an earlier try.
 */
function undo(run: SagaRun): SagaStep {
  const fence = run.saga.work.kind === "create";
  const open = new Set(fence ? [...run.saga.add, ""] : run.saga.add);
  const next: SagaRun = { ...run, phase: "undo", open };
  if (open.size === 0) return finish(next);
  const releases = run.saga.add.map((name): SagaEffect => ({ kind: "release", name, floor: 0 }));
  return [next, fence ? [{ kind: "fence" }, ...releases] : releases];
}

/**
 * Releases the names that the account does not have. Not only those to drop: a late try finds the
 * account as others have changed it since, and must not leave it without a claim, or a claim without it.
 */
function release(run: SagaRun, names: readonly string[]): SagaStep {
  const { add, drop } = run.saga;
  const open = new Set([...add, ...drop].filter((name) => !names.includes(name)));
  const next: SagaRun = { ...run, phase: "release", open };
  if (open.size === 0) return finish(next);
  return ask(next, (name) => ({ kind: "release", name, floor: run.floor }));
}

function finish(run: SagaRun): SagaStep {
  const kind = run.saga.work.kind;
  const gone = run.failure === undefined ? kind === "remove" : kind === "create";
  const floor = run.failure === undefined ? run.floor : 0;
  return [{ ...run, phase: "finish" }, [{ kind: "finish", release: gone ? { floor } : undefined }]];
}

function closed(run: SagaRun, question: string): SagaStep {
  if (!run.open.has(question)) return [run, []];
  const next = without(run, question);
  return next.open.size === 0 ? finish(next) : [next, []];
}

function without(run: SagaRun, question: string): SagaRun {
  const open = new Set(run.open);
  open.delete(question);
  return { ...run, open };
}

function ask(run: SagaRun, effect: (name: string) => SagaEffect): SagaStep {
  return [run, [...run.open].map(effect)];
}
