/** What is shown in place of a value that is not. */
export const MASK = "********";

/** Names of variables that hold what opens something. */
const SECRET_NAME =
  /pass(?:word|wd|phrase)|(?<!^|^old)pwd$|secret|token|credential|private|cookie|signature|salt(?![a-z])|api_?key|access_?key|account_?key|encryption_?key|auth(?!or|enticated)|bearer|dsn$|(?:^|_)(?:pass|key|pin|sas)$/i;

/** Values that are secrets whatever they are called: keys in PEM, JWTs, tokens of well-known services. */
const SECRET_VALUE =
  /-----BEGIN [A-Z ]*PRIVATE KEY|^eyJ[\w-]+\.[\w-]+\.|^(?:gh[oprsu]_|github_pat_|glpat-|xox[abops]-|sk-|AKIA|ASIA|AIza|hvs\.)/;

/**
 * `scheme://user:password@host`; what is before the password is kept. A scheme has an end: else the time for a hostile
 * value would grow with the square of its length.
 */
const URL_PASSWORD = /([a-z][a-z0-9+.-]{0,31}:\/\/[^\s:@/]*:)[^\s@/]+(?=@)/gi;

export interface Variable {
  name: string;
  value: string;
  /** Whether the value, or part of it, is not shown. */
  masked?: true;
}

/** `NAME=value` as its parts; one without `=` is a name. */
export function variableOf(text: string): Variable {
  const equals = text.indexOf("=");
  return equals < 0
    ? { name: text, value: "" }
    : { name: text.slice(0, equals), value: text.slice(equals + 1) };
}

/** The same without what looks like a secret. It is a courtesy to who looks over a shoulder, not a guarantee. */
export function masked(variable: Variable): Variable {
  const { name, value } = variable;
  if (value === "") return variable;
  if (SECRET_NAME.test(name) || SECRET_VALUE.test(value)) return { name, value: MASK, masked: true };
  const shown = value.replace(URL_PASSWORD, `$1${MASK}`);
  return shown === value ? variable : { name, value: shown, masked: true };
}
