// Log lines of all members on one terminal: pretty for people, as they are for programs.

import { prettyFactory } from "pino-pretty";

/** Returns what handles one line of member `name`. */
export function logPrinter(pretty: boolean): (name: string, line: string) => void {
  if (!pretty) return (_name, line) => process.stdout.write(`${line}\n`);
  const format = prettyFactory({
    colorize: true,
    ignore: "pid,hostname,member",
    translateTime: "HH:MM:ss.l",
    singleLine: true,
  });
  return (name, line) => {
    process.stdout.write(`${name.padEnd(4)}${line.startsWith("{") ? format(line) : `${line}\n`}`);
  };
}
