// The certificate shown to mail clients: read at start, read again when its files change.

import { readFileSync, watchFile } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Logger } from "pino";
import type { Config } from "../config/schema.ts";
import { CommandFailure, exitStatus } from "../failure.ts";

const lookEveryMs = 5000;

/**
 * Returns what gives the context of the moment. Files that can't be used later keep the old one and
 * are logged; at start they are an error. @throws CommandFailure
 */
export function publicTls(config: Config, log: Logger): () => SecureContext | undefined {
  const { tls } = config;
  if (tls === undefined) return () => undefined;
  const read = (): SecureContext =>
    createSecureContext({
      cert: readFileSync(tls.cert),
      key: readFileSync(tls.key),
      minVersion: "TLSv1.2",
      ciphers: aeadCiphers,
      honorCipherOrder: true,
    });
  let current: SecureContext;
  try {
    current = read();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandFailure(`tls: ${why}`, exitStatus.config, { cause: error });
  }
  watchFile(tls.cert, { interval: lookEveryMs, persistent: false }, () => {
    try {
      current = read();
      log.info({ file: tls.cert }, "certificate read again");
    } catch (error) {
      log.error({ err: error, file: tls.cert }, "new certificate can't be used, the old one stays");
    }
  });
  return () => current;
}

/** TLS 1.2 with AEAD and forward secrecy only; TLS 1.3 has nothing else. */
const aeadCiphers = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");
