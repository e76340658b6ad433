// Where a command's password comes from: an option, a file, standard input, or a prompt that shows nothing.

import { readFileSync } from "node:fs";
import { stdin } from "node:process";
import { CommandFailure, exitStatus, fileFailure } from "./failure.ts";

export interface PasswordOptions {
  readonly password?: string;
  readonly passwordFile?: string;
}

const longestBytes = 4096;

/** One line, without its end. On a terminal it is asked for twice. @throws CommandFailure */
export async function readPassword(options: PasswordOptions): Promise<string> {
  if (options.password !== undefined) return notEmpty(options.password);
  if (options.passwordFile !== undefined) {
    try {
      return firstLine(readFileSync(options.passwordFile, "utf8"));
    } catch (error) {
      if (error instanceof CommandFailure) throw error;
      throw fileFailure(options.passwordFile, error);
    }
  }
  if (!stdin.isTTY) return firstLine(await readInput());
  const first = notEmpty(await prompt("Password: "));
  if ((await prompt("Again: ")) === first) return first;
  throw new CommandFailure("the two passwords differ", exitStatus.usage);
}

async function readInput(): Promise<string> {
  stdin.setEncoding("utf8");
  let text = "";
  for await (const chunk of stdin) {
    text += String(chunk);
    if (text.includes("\n") || text.length > longestBytes) break;
  }
  return text;
}

/** Reads a line from the terminal without showing it. */
async function prompt(question: string): Promise<string> {
  process.stderr.write(question);
  stdin.setEncoding("utf8");
  stdin.setRawMode(true);
  try {
    let line = "";
    for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
      for (const character of String(chunk)) {
        if (character === "\r" || character === "\n") return line;
        if (character === "\u0003" || character === "\u0004") {
          throw new CommandFailure("no password given", exitStatus.usage);
        }
        if (character === "\u007f" || character === "\b") line = line.slice(0, -1);
        else line += character;
      }
    }
    return line;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    process.stderr.write("\n");
  }
}

function firstLine(text: string): string {
  return notEmpty(text.split(/\r?\n/, 1)[0] ?? "");
}

function notEmpty(password: string): string {
  if (password === "") throw new CommandFailure("the password is empty", exitStatus.usage);
  return password;
}
