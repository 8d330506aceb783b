import { describe, expect, it } from "vitest";
import { addImport, removeImport } from "./imports.ts";

const pattern = "/etc/containerd/conf.d/*.toml";
const edited = (text: string) => ({ type: "edited", text });

describe("imports of containerd's main configuration", () => {
  it.each([
    ["an absent file", "", `version = 3\nimports = ["${pattern}"] # by kcr-installer\n`],
    ["none", "version = 3\n[a]\n", `imports = ["${pattern}"] # by kcr-installer\nversion = 3\n[a]\n`],
    [
      "none, and an array over several lines before the tables",
      'disabled_plugins = [\n  "x",\n]\n',
      `imports = ["${pattern}"] # by kcr-installer\ndisabled_plugins = [\n  "x",\n]\n`,
    ],
    [
      "an array on one line",
      "version = 3\nimports = ['/a/*.toml', \"b.toml\",]\nroot = '/r'\n[a]\n",
      `version = 3\nimports = ["/a/*.toml", "b.toml", "${pattern}"] # by kcr-installer; before: imports = ['/a/*.toml', "b.toml",]\nroot = '/r'\n[a]\n`,
    ],
    [
      "an empty array",
      "imports = []\n",
      `imports = ["${pattern}"] # by kcr-installer; before: imports = []\n`,
    ],
    [
      "an array whose elements have signs of TOML in them",
      "imports = ['/a]#,b']\n",
      `imports = ["/a]#,b", "${pattern}"] # by kcr-installer; before: imports = ['/a]#,b']\n`,
    ],
    [
      "a key of that name in a table",
      "version = 3\n[x]\nimports = [\n]\n",
      `imports = ["${pattern}"] # by kcr-installer\nversion = 3\n[x]\nimports = [\n]\n`,
    ],
  ])("that are %s are added to, and taken back to the letter", (_what, before, after) => {
    expect(addImport(before, pattern)).toEqual(edited(after));
    expect(removeImport(after, pattern)).toEqual(edited(before));
  });

  it.each([
    ["over several lines", "imports = [\n  '/a/*.toml',\n]\n"],
    ["with a comment", "imports = ['/a/*.toml'] # mine\n"],
    ["with a quoted key", '"imports" = []\n'],
    ["that are no strings", "imports = [1]\n"],
    ["with text after a string", "imports = ['a' 'b']\n"],
  ])("%s are refused, with what to add by hand", (_what, text) => {
    expect(addImport(text, pattern)).toMatchObject({
      type: "refused",
      why: expect.stringContaining(`add ${JSON.stringify(pattern)} to imports by hand`),
    });
  });

  it("that somebody changed since are left to them", () => {
    const text = `imports = ["/mine", "${pattern}"] # by kcr-installer; before: imports = ['/a']\n`;
    expect(removeImport(text, pattern).type).toBe("refused");
  });

  it("that are not ours are left as they are", () => {
    const text = `imports = ["${pattern}"]\n[a]\n`;
    expect(removeImport(text, pattern)).toEqual(edited(text));
  });
});
