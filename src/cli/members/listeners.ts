// Listeners as the configuration names them, and errors that say what to do about them.

import { errorCode } from "../../lib/real-disk.ts";
import type { Config } from "../config/schema.ts";
import { CommandFailure, exitStatus } from "../failure.ts";

export type ListenerName = keyof Config["listen"];
export type ListenerConfig = NonNullable<Config["listen"][ListenerName]>;

/** @throws CommandFailure when the role can't do without it. */
export function requireListener(config: Config, name: ListenerName): ListenerConfig {
  const listener = config.listen[name];
  if (listener !== undefined) return listener;
  throw new CommandFailure(`a ${config.member.role} needs listen.${name}`, exitStatus.config);
}

/** Turns a failed listen into a sentence. */
export function listenFailure(
  name: string,
  listener: ListenerConfig,
  error: unknown,
): CommandFailure {
  const where = `${listener.address}:${listener.port}`;
  const code = errorCode(error);
  const why =
    code === "EADDRINUSE"
      ? "the port is in use: stop the other program or choose another port"
      : code === "EACCES"
        ? "not permitted: ports below 1024 need CAP_NET_BIND_SERVICE"
        : code === "EADDRNOTAVAIL"
          ? "this machine does not have the address"
          : String(error);
  return new CommandFailure(`listen.${name} ${where}: ${why}`, exitStatus.unavailable, {
    cause: error,
  });
}

/** As `listenFailure`, for an error that does not say whose it is; undefined when it is no failed listen. */
export function explainListen(config: Config, error: unknown): CommandFailure | undefined {
  if (!(error instanceof Error) || !("syscall" in error) || error.syscall !== "listen")
    return undefined;
  const port = "port" in error ? error.port : undefined;
  for (const [name, listener] of Object.entries(config.listen)) {
    if (listener?.port === port && listener !== undefined)
      return listenFailure(name, listener, error);
  }
  return undefined;
}
