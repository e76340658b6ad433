// What an account's credentials hold: one line of verifiers with a blank between them. First a
// password hash (password.ts), then what SCRAM needs of the same password (scram-keys.ts), then app
// passwords (app-password.ts). An account that was imported has a hash alone.

export interface Verifiers {
  /** PHC or crypt string. */
  readonly password: string;
  /** `SCRAM-SHA-256$…`, of the same password. */
  readonly scram?: string;
  /** `{APP}…`, each its own password. */
  readonly apps: readonly string[];
}

export const scramPrefix = "SCRAM-SHA-256$";
export const appPrefix = "{APP}";

export function parseVerifiers(text: string): Verifiers {
  const words = text.split(" ");
  const scram = words.find((word) => word.startsWith(scramPrefix));
  return {
    password: words.find((word) => !isExtra(word)) ?? "",
    ...(scram === undefined ? {} : { scram }),
    apps: words.filter((word) => word.startsWith(appPrefix)),
  };
}

export function formatVerifiers({ password, scram, apps }: Verifiers): string {
  return [password, ...(scram === undefined ? [] : [scram]), ...apps].join(" ");
}

function isExtra(word: string): boolean {
  return word.startsWith(scramPrefix) || word.startsWith(appPrefix);
}
