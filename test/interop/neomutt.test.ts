// NeoMutt: sends in batch mode through submission, and is used in a terminal as a person does: the
// index shows the mail, Enter opens it, keys mark and delete it.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { until } from "../support/processes.ts";
import { flow, message, mustRun, readMailbox, run, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;
let socket: string;

beforeAll(async () => {
  scratch = new Scratch();
  socket = scratch.path("tmux");
  cluster = await DevCluster.start({ users: 4 });
});
afterAll(async () => {
  await run("tmux", ["-S", socket, "kill-server"]);
  await cluster.destroy();
  scratch.remove();
});

function configuration(user: string): string {
  const { submission, imap } = cluster.gateway("g1");
  return scratch.write(
    `${user}-neomuttrc`,
    [
      `set from="${user}@pabal.test" realname="김파발" use_from=yes hostname=pabal.test`,
      `set smtp_url="smtp://${user}@localhost:${submission}/" smtp_pass=secret`,
      `set imap_user=${user} imap_pass=secret folder="imap://localhost:${imap}/"`,
      `set ssl_starttls=yes ssl_force_tls=yes ssl_ca_certificates_file="${cluster.ports.tls.ca}"`,
      `set certificate_file="${cluster.ports.tls.ca}"`,
      "set charset=utf-8 send_charset=utf-8 mail_check=1 timeout=1 sort=date wait_key=no confirmappend=no",
      'set delete=yes quit=yes header_cache="" message_cachedir="" beep=no help=no sleep_time=0',
    ].join("\n"),
  );
}

const env = (): NodeJS.ProcessEnv => ({ HOME: scratch.folder, LC_ALL: "C.UTF-8", TERM: "screen" });

async function tmux(...args: readonly string[]): Promise<string> {
  return mustRun("tmux", ["-S", socket, "-f", "/dev/null", ...args], { env: env() });
}

async function screenShows(text: string): Promise<void> {
  let last = "";
  try {
    await until(`"${text}" on the screen`, 15_000, async () => {
      last = await tmux("capture-pane", "-p", "-t", "mutt");
      return last.includes(text) ? true : undefined;
    });
  } catch (error) {
    throw new Error(`the screen shows:\n${last}`, { cause: error });
  }
}

describe("neomutt", () => {
  test("batch mode sends a Korean message with an attachment", async () => {
    const attachment = scratch.write("보고서.txt", "붙임 파일\n");
    const args = ["-n", "-F", configuration("u1"), "-s", "한글 제목", "-a", attachment, "--"];
    await mustRun("neomutt", [...args, "u2@pabal.test"], {
      input: "본문입니다\n.\n..\n끝\n",
      env: env(),
      withinMs: 30_000,
    });
    const client = flow(cluster.gateway("g2").imap, "u2");
    await client.connect();
    await client.mailboxOpen("INBOX");
    const found = await client.fetchOne("1", {
      envelope: true,
      bodyParts: ["1"],
      bodyStructure: true,
    });
    if (found === false) throw new Error("no message");
    await client.logout();
    expect(found.envelope).toMatchObject({
      subject: "한글 제목",
      from: [{ name: "김파발", address: "u1@pabal.test" }],
    });
    expect(found.bodyParts?.get("1")?.toString()).toBe("본문입니다\r\n.\r\n..\r\n끝\r\n");
    expect(found.bodyStructure?.childNodes?.[1]?.dispositionParameters).toEqual({
      filename: "보고서.txt",
    });
  });

  test("a person reads, copies, sees new mail come, deletes, and leaves", async () => {
    const { imap } = cluster.gateway("g1");
    const client = flow(cluster.gateway("g2").imap, "u3");
    await client.connect();
    const korean = message(
      "=?utf-8?B?7ZqM7J2YIOyVjOumvA==?=",
      ["세 시에 만나요"],
      ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"],
    );
    await client.append("INBOX", korean); // 회의 알림
    await client.append("INBOX", message("second message", ["two"]));
    const line = `neomutt -n -F ${configuration("u3")} -f imap://localhost:${imap}/INBOX`;
    await tmux("new-session", "-d", "-s", "mutt", "-x", "110", "-y", "30", line);
    await screenShows("회의 알림");
    await screenShows("second message");
    await tmux("send-keys", "-t", "mutt", "1", "Enter", "Enter");
    await screenShows("세 시에 만나요");
    await tmux("send-keys", "-t", "mutt", "q");
    await screenShows("second message");
    await tmux("send-keys", "-t", "mutt", "C", "C-u", "=Archive", "Enter");
    await until("the copy", 15_000, async () => {
      const [copy] = await readMailbox(cluster.gateway("g2").imap, "u3", "Archive");
      return copy?.equals(korean) === true ? true : undefined;
    });
    await client.append("INBOX", message("came meanwhile", ["three"]));
    await screenShows("came meanwhile");
    await tmux("send-keys", "-t", "mutt", "2", "Enter", "d", "q");
    await until("the deletion", 15_000, async () => {
      const left = await readMailbox(cluster.gateway("g2").imap, "u3");
      return left.length === 2 && !left.some((bytes) => bytes.includes("second message"))
        ? true
        : undefined;
    });
    await client.mailboxOpen("INBOX");
    const flags = await client.fetchAll("1", { flags: true });
    expect(flags.map((one) => one.flags?.has("\\Seen"))).toEqual([true]);
    await client.logout();
  });
});
