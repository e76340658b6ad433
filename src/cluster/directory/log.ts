// The part of a pino logger that the directory uses; fixed phrases, facts as fields.

type Line = (facts: object, message: string) => void;

export interface DirectoryLog {
  readonly error: Line;
  readonly warn: Line;
  readonly info: Line;
  readonly debug: Line;
}
