/**
 * What this library writes its log to; a pino logger fits as it is. The message is constant, what varies is in
 * the fields (an error goes under `err`).
 */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A logger that writes nothing. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
