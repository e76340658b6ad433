// NOOP and CHECK: both ask the store for news. RFC 9051 §6.1.2, RFC 3501 §6.4.1

import { anyState, command, noArguments, onlySelected } from "../command.ts";
import { ok } from "../reply.ts";

export const noop = command({
  name: "NOOP",
  states: anyState,
  sync: "poll",
  parse: noArguments,
  run: () => Promise.resolve(ok("NOOP completed")),
});

export const check = command({
  name: "CHECK",
  states: onlySelected,
  sync: "poll",
  parse: noArguments,
  run: () => Promise.resolve(ok("CHECK completed")),
});
