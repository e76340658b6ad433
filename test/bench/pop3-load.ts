// POP3 for measuring: logs in and retrieves messages one command after the other.

import { connect } from "node:net";

/** Retrieves up to `most` messages. */
export async function popRetrieve(
  port: number,
  user: string,
  password: string,
  most: number,
): Promise<{ readonly messages: number; readonly seconds: number }> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  let tail = "";
  let wanted = "\r\n";
  let done: (() => void) | undefined;
  socket.on("data", (chunk: Buffer) => {
    tail = (tail + chunk.subarray(-64).toString("latin1")).slice(-64);
    if (tail.endsWith(wanted)) done?.();
  });
  socket.on("error", () => done?.());
  const until = async (end: string): Promise<string> => {
    wanted = end;
    await new Promise<void>((resolve) => {
      done = resolve;
    });
    const line = tail;
    tail = "";
    return line;
  };
  const say = async (line: string, end = "\r\n"): Promise<string> => {
    const answer = until(end);
    socket.write(`${line}\r\n`);
    return answer;
  };
  await until("\r\n");
  await say(`USER ${user}`);
  if (!(await say(`PASS ${password}`)).includes("+OK")) throw new Error("POP3 login refused");
  const count = Number(/\+OK (\d+)/.exec(await say("STAT"))?.[1] ?? 0);
  const messages = Math.min(count, most);
  const started = performance.now();
  for (let n = 1; n <= messages; n++) await say(`RETR ${n}`, "\r\n.\r\n");
  const seconds = (performance.now() - started) / 1000;
  await say("QUIT");
  socket.destroy();
  return { messages, seconds };
}
