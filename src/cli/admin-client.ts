// The command line's way to the admin API of a cluster: finds it, calls it, turns its errors into
// sentences. Every command but `serve`, `dev`, `config`, `check` and `salvage` goes through here.

import { readFileSync } from "node:fs";
import type { z } from "zod";
import { loadConfig } from "./config/load.ts";
import { readDevState } from "./dev/ports-file.ts";
import { CommandFailure, exitStatus, fileFailure } from "./failure.ts";

export interface AdminOptions {
  readonly admin?: string;
  readonly adminToken?: string;
  readonly config?: string;
}

interface Target {
  readonly urls: readonly string[];
  readonly token: string;
}

export class AdminClient {
  readonly #target: Target;

  /** @throws CommandFailure when no cluster can be found from options, environment, dev state or config. */
  constructor(options: AdminOptions) {
    this.#target = findTarget(options);
  }

  /**
   * One request; the answer is decoded JSON.
   * @throws CommandFailure with the server's words, or when no gateway answers.
   */
  request(method: string, path: string, body?: unknown): Promise<unknown> {
    return body === undefined
      ? this.#send(method, path)
      : this.#send(method, path, { type: "application/json", bytes: JSON.stringify(body) });
  }

  /** POST of a message as it is; the rest of the request is in the query. Answers as `request`. */
  upload(path: string, message: Buffer): Promise<unknown> {
    return this.#send("POST", path, { type: "message/rfc822", bytes: Uint8Array.from(message) });
  }

  async #send(
    method: string,
    path: string,
    body?: { readonly type: string; readonly bytes: string | Uint8Array<ArrayBuffer> },
  ): Promise<unknown> {
    let last: unknown;
    for (const url of this.#target.urls) {
      let response: Response;
      try {
        response = await fetch(new URL(path, url), {
          method,
          headers: {
            authorization: `Bearer ${this.#target.token}`,
            ...(body === undefined ? {} : { "content-type": body.type }),
          },
          ...(body === undefined ? {} : { body: body.bytes }),
          signal: AbortSignal.timeout(60_000),
        });
      } catch (error) {
        last = error;
        continue; // This gateway is down; the next one serves the same.
      }
      return decode(response);
    }
    throw new CommandFailure(
      `no gateway answers at ${this.#target.urls.join(", ")} (${reason(last)}): is it running?`,
      exitStatus.unavailable,
    );
  }
}

/** The answer in the shape that this version knows. @throws CommandFailure */
export function decodeAnswer<T>(schema: z.ZodType<T>, answer: unknown): T {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  const [first] = result.error.issues;
  throw new CommandFailure(
    `the gateway's answer is not understood (${first?.path.join(".") ?? ""}: ${first?.message ?? ""}): is it of another version?`,
    exitStatus.failed,
    { cause: result.error },
  );
}

async function decode(response: Response): Promise<unknown> {
  const text = await response.text();
  let value: unknown;
  try {
    value = text === "" ? undefined : JSON.parse(text);
  } catch {
    throw new CommandFailure(
      `${response.url} answered ${response.status} without JSON: is it Pabal's admin API?`,
      exitStatus.failed,
    );
  }
  if (response.ok) return value;
  const message =
    typeof value === "object" && value !== null && "message" in value
      ? String(value.message)
      : `the admin API answered ${response.status}`;
  const status = statuses.get(response.status) ?? exitStatus.failed;
  throw new CommandFailure(message, status);
}

const statuses: ReadonlyMap<number, number> = new Map([
  [401, exitStatus.noPermission],
  [404, exitStatus.notFound],
  [503, exitStatus.unavailable],
]);

/** Options first, then the environment, then --config, then the development cluster started last. */
function findTarget(options: AdminOptions): Target {
  const url = checkedUrl(options.admin ?? process.env.PABAL_ADMIN);
  const token = options.adminToken ?? process.env.PABAL_ADMIN_TOKEN;
  if (url !== undefined && token !== undefined) return { urls: [url], token };
  if (options.config !== undefined) {
    const { admin } = loadConfig(options.config);
    const found = url ?? checkedUrl(admin.url);
    if (found !== undefined && (token !== undefined || admin.tokenFile !== undefined)) {
      return { urls: [found], token: token ?? readToken(admin.tokenFile ?? "") };
    }
    throw new CommandFailure(
      `${options.config} names no admin.url and admin.tokenFile`,
      exitStatus.usage,
    );
  }
  const state = readDevState();
  if (state !== undefined) {
    return { urls: url === undefined ? state.urls : [url], token: token ?? state.token };
  }
  if (url !== undefined) {
    throw new CommandFailure(
      "no token: say --admin-token TOKEN, PABAL_ADMIN_TOKEN or --config FILE",
      exitStatus.usage,
    );
  }
  throw new CommandFailure(
    "no cluster found: start one with `pabal dev`, or say --admin URL --admin-token TOKEN, or --config FILE",
    exitStatus.usage,
  );
}

function checkedUrl(text: string | undefined): string | undefined {
  if (text === undefined || (URL.canParse(text) && /^https?:/.test(text))) return text;
  throw new CommandFailure(
    `"${text}" is no URL of an admin API, such as http://127.0.0.1:8025`,
    exitStatus.usage,
  );
}

function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw fileFailure(file, error);
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
