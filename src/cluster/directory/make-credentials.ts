// The credentials of a password in clear: its hash, and its keys for SCRAM unless those are switched
// off.

import { hashPassword, importableHash, isOutdated } from "./password.ts";
import type { HashParameters } from "./password.ts";
import { appPasswordOf } from "./app-password.ts";
import { makeScram, parseScram } from "./scram-keys.ts";
import { formatVerifiers, parseVerifiers } from "./verifiers.ts";

export interface CredentialParameters extends HashParameters {
  /** Of SCRAM's keys; 0: none are made. */
  readonly scramIterations: number;
}

/** @param apps verifiers of app passwords that stay */
export async function makeCredentials(
  password: string,
  parameters: CredentialParameters,
  apps: readonly string[] = [],
): Promise<string> {
  const { scramIterations } = parameters;
  const [hash, scram] = await Promise.all([
    hashPassword(password, parameters),
    scramIterations === 0 ? undefined : makeScram(password, scramIterations),
  ]);
  return formatVerifiers({ password: hash, ...(scram === undefined ? {} : { scram }), apps });
}

/** True when they should be made anew at the next good login. */
export function areOutdated(credentials: string, parameters: CredentialParameters): boolean {
  const { password, scram } = parseVerifiers(credentials);
  const iterations = scram === undefined ? 0 : (parseScram(scram)?.iterations ?? 0);
  return isOutdated(password, parameters) || iterations < parameters.scramIterations;
}

/** Undefined when an account can be given these credentials; otherwise why not. */
export function importableCredentials(text: string): string | undefined {
  const { password, scram, apps } = parseVerifiers(text);
  const all = formatVerifiers({ password, ...(scram === undefined ? {} : { scram }), apps });
  if (all !== text) return "an account has one hash, one line for SCRAM and its app passwords";
  if (scram !== undefined && parseScram(scram) === undefined) return "not RFC 5803's form";
  if (apps.some((app) => appPasswordOf(app) === undefined)) return "no app password of ours";
  return importableHash(password);
}
