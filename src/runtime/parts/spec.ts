import { PartError } from "./errors.ts";
import { readSmall } from "./open-file.ts";

/**
 * The parts of an OCI runtime configuration (config.json of a bundle, spec.dump of a checkpoint) that a restore
 * looks at; https://github.com/opencontainers/runtime-spec/blob/main/config.md. What is not there is empty.
 */
export interface RuntimeSpec {
  annotations: Record<string, string>;
  root: { path: string; readonly: boolean };
  mounts: SpecMount[];
  process: SpecProcess;
  linux: {
    /** Empty for a container that is not confined. */
    seccomp?: SpecSeccomp;
    maskedPaths: string[];
    readonlyPaths: string[];
  };
}

export interface SpecMount {
  destination: string;
  type: string;
  source: string;
  options: string[];
}

/** Whether a mount shows files of the node. */
export const isBind = ({ type, options }: Pick<SpecMount, "type" | "options">): boolean =>
  type === "bind" || options.includes("bind") || options.includes("rbind");

export interface SpecProcess {
  args: string[];
  /** `NAME=value`. */
  env: string[];
  cwd: string;
  terminal: boolean;
  noNewPrivileges: boolean;
  user: { uid: number; gid: number; umask?: number; additionalGids: number[] };
  /** By set: bounding, effective, permitted, inheritable, ambient. */
  capabilities: Record<CapabilitySet, string[]>;
}

export const CAPABILITY_SETS = ["bounding", "effective", "permitted", "inheritable", "ambient"] as const;
export type CapabilitySet = (typeof CAPABILITY_SETS)[number];

/** Without its lists of system calls: they follow the runtime's version, not what the pod asks for. */
export interface SpecSeccomp {
  defaultAction: string;
}

export const SPEC_LIMIT = 16 * 1024 * 1024;

/** Errors: `PartError` when it cannot be read, is too large, or is none. */
export async function readSpec(path: string): Promise<RuntimeSpec> {
  let text: string;
  try {
    text = await readSmall(path, SPEC_LIMIT);
  } catch (cause) {
    if (cause instanceof PartError) throw cause;
    throw new PartError("RestoreFailed", `${path} cannot be read`, { cause });
  }
  return parseSpec(text, path);
}

/** `name` is of the file, for errors: `PartError`, which names the field and never its value. */
export function parseSpec(text: string, name: string): RuntimeSpec {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which has secrets in it.
    throw new PartError("ArchiveInvalid", `${name} is no JSON`);
  }
  const spec = new Field(name, "", value).object();
  const process = spec.field("process").object();
  const user = process.field("user").object();
  const capabilities = process.field("capabilities").object();
  const linux = spec.field("linux").object();
  const root = spec.field("root").object();
  const seccomp = linux.field("seccomp");
  return {
    annotations: spec.field("annotations").texts(),
    root: { path: root.field("path").text(), readonly: root.field("readonly").flag() },
    mounts: spec.field("mounts").list((field) => {
      const mount = field.object();
      return {
        destination: mount.field("destination").text(),
        type: mount.field("type").text(),
        source: mount.field("source").text(),
        options: mount.field("options").list((option) => option.text()),
      };
    }),
    process: {
      args: process.field("args").list((arg) => arg.text()),
      env: process.field("env").list((variable) => variable.text()),
      cwd: process.field("cwd").text(),
      terminal: process.field("terminal").flag(),
      noNewPrivileges: process.field("noNewPrivileges").flag(),
      user: {
        uid: user.field("uid").number() ?? 0,
        gid: user.field("gid").number() ?? 0,
        umask: user.field("umask").number(),
        additionalGids: user.field("additionalGids").list((gid) => gid.number() ?? 0),
      },
      capabilities: {
        bounding: capabilities.field("bounding").list((one) => one.text()),
        effective: capabilities.field("effective").list((one) => one.text()),
        permitted: capabilities.field("permitted").list((one) => one.text()),
        inheritable: capabilities.field("inheritable").list((one) => one.text()),
        ambient: capabilities.field("ambient").list((one) => one.text()),
      },
    },
    linux: {
      seccomp: seccomp.isAbsent
        ? undefined
        : { defaultAction: seccomp.object().field("defaultAction").text() },
      maskedPaths: linux.field("maskedPaths").list((path) => path.text()),
      readonlyPaths: linux.field("readonlyPaths").list((path) => path.text()),
    },
  };
}

/** A value of some JSON, with where it stands. Absent and null are the same: Go writes either. */
class Field {
  readonly #file: string;
  readonly #path: string;
  readonly #value: unknown;

  constructor(file: string, path: string, value: unknown) {
    this.#file = file;
    this.#path = path;
    this.#value = value;
  }

  get isAbsent(): boolean {
    return this.#value === undefined || this.#value === null;
  }

  object(): { field(key: string): Field } {
    const value = this.isAbsent ? {} : this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.#wrong("object");
    return {
      field: (key) => {
        const own = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
        return new Field(this.#file, this.#path === "" ? key : `${this.#path}.${key}`, own);
      },
    };
  }

  list<T>(item: (field: Field) => T): T[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.#value)) throw this.#wrong("list");
    return this.#value.map((one, at) => item(new Field(this.#file, `${this.#path}[${at}]`, one)));
  }

  texts(): Record<string, string> {
    this.object();
    const entries = Object.entries((this.#value ?? {}) as Record<string, unknown>);
    if (!entries.every((entry): entry is [string, string] => typeof entry[1] === "string")) {
      throw this.#wrong("map of texts");
    }
    return Object.fromEntries(entries);
  }

  text(): string {
    if (this.isAbsent) return "";
    if (typeof this.#value !== "string") throw this.#wrong("text");
    return this.#value;
  }

  number(): number | undefined {
    if (this.isAbsent) return undefined;
    if (typeof this.#value !== "number") throw this.#wrong("number");
    return this.#value;
  }

  flag(): boolean {
    if (this.isAbsent) return false;
    if (typeof this.#value !== "boolean") throw this.#wrong("true or false");
    return this.#value;
  }

  #wrong(wanted: string): PartError {
    return new PartError("ArchiveInvalid", `${this.#file}: ${this.#path || "the whole"} is no ${wanted}`);
  }
}
