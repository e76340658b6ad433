// Messages of a stress run: every byte follows from the id, so that a body can be judged by its id alone.

/** RFC 5322 bytes with CRLF. */
export function messageOf(id: string): Buffer {
  let sum = 7;
  for (const char of id) sum = (sum * 31 + char.charCodeAt(0)) % 65_521;
  const lines = Array.from({ length: sum % 40 }, (_, n) => `line ${n} of ${id}, ${sum * (n + 1)}`);
  const head = [
    `X-Stress: ${id}`,
    `Subject: ${id}`,
    "From: rider@example.org",
    "To: relay@example.org",
    "Date: Sun, 22 Nov 2026 12:00:00 +0000",
    `Message-ID: <${id}@stress.example>`,
  ];
  return Buffer.from([...head, "", ...lines, ""].join("\r\n"));
}
