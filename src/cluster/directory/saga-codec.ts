// Bytes of a saga, as they stand in a claim's `task`.

import { asListOf, asText, malformed } from "../node/decode.ts";
import { packValue, unpackValue } from "../link/wire-value.ts";
import type { Saga, SagaFailure, SagaWork } from "./saga.ts";
import {
  accountField,
  asName,
  decodePatch,
  decodeRegistration,
  fieldsOf,
  nameField,
  opIdField,
  shardField,
} from "./wire.ts";

export function encodeSaga(saga: Saga): Uint8Array {
  return packValue(saga);
}

/** @throws MailError INVALID */
export function decodeSaga(bytes: Uint8Array): Saga {
  const fields = fieldsOf(unpackValue(bytes), "saga");
  const failure = fields.get("failure");
  return {
    id: opIdField(fields, "id"),
    name: nameField(fields),
    account: accountField(fields),
    shard: shardField(fields),
    work: decodeWork(fields.get("work")),
    add: asListOf(fields.get("add"), "names", asName),
    drop: asListOf(fields.get("drop"), "names", asName),
    failure: failure === undefined || failure === null ? undefined : decodeSagaFailure(failure),
  };
}

export function decodeWork(value: unknown): SagaWork {
  const fields = fieldsOf(value, "work");
  switch (fields.get("kind")) {
    case "create":
      return {
        kind: "create",
        registration: decodeRegistration(fields.get("registration")),
      };
    case "change":
      return { kind: "change", patch: decodePatch(fields.get("patch")) };
    case "remove":
      return { kind: "remove" };
    default:
      throw malformed("work");
  }
}

function decodeSagaFailure(value: unknown): SagaFailure {
  const fields = fieldsOf(value, "failure");
  switch (fields.get("code")) {
    case "NAME_TAKEN":
      return { code: "NAME_TAKEN", name: nameField(fields) };
    case "NO_SUCH_ACCOUNT":
      return { code: "NO_SUCH_ACCOUNT" };
    case "CONFLICT":
      return { code: "CONFLICT", why: asText(fields.get("why"), "why") };
    case "INVALID":
      return { code: "INVALID", why: asText(fields.get("why"), "why") };
    default:
      throw malformed("failure");
  }
}
