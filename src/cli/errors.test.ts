import { describe, expect, it } from "vitest";
import { KcrError } from "../api/errors.ts";
import { ArchiveError } from "../archive/errors.ts";
import { ApiError, ConnectionError } from "../kube/errors.ts";
import { RegistryError } from "../oci/errors.ts";
import { errorLines, explain, told } from "./errors.ts";

const api = (status: number, message: string, name?: string) =>
  new ApiError("GET /apis/x/v1/things?limit=500", { status, message, details: { name } });

describe("an error", () => {
  it.each([
    [new KcrError("PodNotFound", "there is no pod x"), "PodNotFound", "there is no pod x"],
    [api(403, 'things "x" is forbidden: no'), "ApiForbidden", 'things "x" is forbidden: no'],
    [api(404, 'things "x" not found', "x"), "ApiNotFound", 'things "x" not found'],
    [
      api(404, "the server could not find the requested resource"),
      "NotInstalled",
      "the server could not find the requested resource",
    ],
    [api(401, "Unauthorized"), "ApiUnauthorized", "Unauthorized"],
    [api(422, "spec.schedule: Invalid value"), "ApiRefused", "spec.schedule: Invalid value"],
    [
      new ConnectionError("GET /api/v1/pods", new Error("connect ECONNREFUSED 127.0.0.1:1")),
      "ApiUnreachable",
      "no answer from the API server: connect ECONNREFUSED 127.0.0.1:1",
    ],
    [
      new ArchiveError("truncated", "x.tar: ends before byte 9"),
      "ArchiveInvalid",
      "x.tar: ends before byte 9",
    ],
    [new ArchiveError("unsupported", "x.tar: bzip2"), "ArchiveUnsupported", "x.tar: bzip2"],
    [new RegistryError("tls", "no TLS", { registry: "r:5000" }), "RegistryUntrusted", "r:5000: no TLS"],
    [
      Object.assign(new Error("ENOENT: no such file, open 'x'"), { code: "ENOENT" }),
      "FileUnreadable",
      "ENOENT: no such file, open 'x'",
    ],
    [new TypeError("x is undefined"), "Internal", "x is undefined"],
    ["text", "Internal", "text"],
  ])("%s has the code %s", (error, code, message) => {
    expect(explain(error)).toMatchObject({ code, message });
  });

  it("of a reason that is no code of ours is Internal, whatever it is called", () => {
    expect(told("PodNotFound", "no pod").code).toBe("PodNotFound");
    for (const reason of ["toString", "__proto__", "OfANewerKcr", undefined]) {
      expect(told(reason, "x").code).toBe("Internal");
    }
  });

  it("is shown with what to do, and with nothing that a terminal would obey", () => {
    expect(errorLines(new KcrError("PodNotFound", "there is no pod \x1b[2J."))).toEqual([
      "error: there is no pod \\x1b[2J (PodNotFound)",
      "  Name a pod that is running.",
    ]);
  });
});
