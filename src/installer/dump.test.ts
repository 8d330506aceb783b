import { describe, expect, it } from "vitest";
import { differences, parseDump, stringOf, stringsOf, tableName } from "./dump.ts";

const dump = parseDump(`version = 3
root = '/var/lib/containerd'

[plugins]
  [plugins.'io.containerd.cri.v1.runtime']
    device_ownership_from_security_context = false

    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'

      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.'my.runtime']
        pod_annotations = ['a', "b\\"c"]
`);

describe("a dump", () => {
  it("has its tables under their keys, however those are quoted", () => {
    const cri = ["plugins", "io.containerd.cri.v1.runtime", "containerd"];
    expect(dump.version).toBe(3);
    expect(dump.tables.get(tableName(...cri))?.get("default_runtime_name")).toBe("'runc'");
    const annotations = dump.tables.get(tableName(...cri, "runtimes", "my.runtime"))?.get("pod_annotations");
    expect(stringsOf(annotations!)).toEqual(["a", 'b"c']);
  });

  it("differs in keys that are there in one only, and in values; what is ignored does not count", () => {
    const [before, after] = [
      "version = 3\nimports = []\n[a]\nx = 1\ny = 1\n",
      "version = 3\nimports = ['b']\n[a]\nx = 2\n[b]\nz = 1\n",
    ].map(parseDump);
    expect(differences(before!, after!, (_table, key) => key === "imports")).toEqual([
      "'a': x",
      "'a': y",
      "'b': z",
    ]);
  });

  it("keeps each of an array of tables", () => {
    const [one, two] = ["[[a]]\nx = 1\n[[a]]\nx = 2\n", "[[a]]\nx = 1\n[[a]]\nx = 3\n"].map(parseDump);
    expect(differences(one!, two!, () => false)).toHaveLength(1);
    expect(differences(one!, one!, () => false)).toEqual([]);
  });

  it("has strings in two notations", () => {
    expect(stringOf("'C:\\x'")).toBe("C:\\x");
    expect(stringOf('"a\\tb"')).toBe("a\tb");
    expect(stringOf("12")).toBeUndefined();
    expect(stringOf(undefined)).toBeUndefined();
    expect(stringsOf("[]")).toEqual([]);
    expect(stringsOf("['a', [1]]")).toBeUndefined();
  });
});
