import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { parse } from "yaml";
import { run } from "../../cluster/run.ts";
import { bundleCli, CLI } from "../../scripts/build.ts";
import { checkpoints, requests, restores, schedules } from "../../src/api/kinds.ts";
import { namespaces, type Pod, pods } from "../../src/kube/resources.ts";
import { absent } from "../../src/kube/write.ts";
import { makeNamespace } from "../support/namespace.ts";
import { advance, carrier, mark } from "../support/programs.ts";
import { handlersReady } from "../support/runtime.ts";
import { Terminal } from "../support/terminal.ts";
import { waitFor } from "../support/wait-for.ts";
import { World } from "../support/world.ts";

const cluster = inject("cluster");
const RARELY = "0 0 1 1 *";
const GREEN = "\x1b[32m";

describe.skipIf(cluster === undefined)("kubectl kcr, as a person types it", () => {
  let world: World;
  let directory: string;
  /** A namespace in which the person may do nothing. */
  let foreign: string;
  /** Accounts of the world's namespace: one may operate kcr there, one has the role edit alone. */
  const kubeconfigs = { operator: "", editor: "" };
  let node: string;
  /** Of the Deployment `shared`, which nothing protects. */
  let shared: Pod;

  beforeAll(async () => {
    world = await World.enter(cluster!, "cli");
    foreign = await makeNamespace(world.client, "cli-foreign");
    directory = await mkdtemp(join(tmpdir(), "kcr-cli-"));
    node = world.worker("2.4");
    await Promise.all([bundleCli(join(directory, "bin")), handlersReady(world, node)]);
    [shared, kubeconfigs.operator, kubeconfigs.editor] = await Promise.all([
      world.deploy({ name: "shared", node, containers: [carrier(world)], by: "handler" }),
      kubeconfigOf("operator", "edit", "kcr-operate"),
      kubeconfigOf("editor", "edit"),
    ]);
    await run(["ln", "-s", CLI, join(directory, "bin", "kcr")]);
  });
  afterAll(async () => {
    await world.client.delete(namespaces, { name: foreign });
    await world.leave();
    await rm(directory, { recursive: true });
  });

  /** A kubeconfig for an account that has these roles in the world's namespace. */
  async function kubeconfigOf(name: string, ...roles: string[]): Promise<string> {
    const kubectl = (...args: string[]) => world.cluster.kubectl(["-n", world.namespace, ...args]);
    await kubectl("create", "serviceaccount", name);
    for (const role of roles) {
      const account = `${world.namespace}:${name}`;
      await kubectl(
        "create",
        "rolebinding",
        `${name}-${role}`,
        `--clusterrole=${role}`,
        `--serviceaccount=${account}`,
      );
    }
    const token = (await kubectl("create", "token", name)).trim();
    const config = parse(await readFile(world.cluster.kubeconfigPath, "utf8"));
    config.users[0].user = { token };
    config.contexts[0].context.namespace = world.namespace;
    const path = join(directory, `${name}.kubeconfig`);
    await writeFile(path, JSON.stringify(config));
    return path;
  }

  const environment = (kubeconfig = kubeconfigs.operator) => ({
    KUBECONFIG: kubeconfig,
    PATH: `${join(directory, "bin")}:${dirname(process.execPath)}:${process.env["PATH"]}`,
    HOME: directory,
  });

  /** As a script runs it: no terminal anywhere. */
  const kcr = (args: string[], kubeconfig?: string): Promise<{ exit: number; out: string; err: string }> =>
    new Promise((resolve) => {
      const file = join(directory, "bin", "kcr");
      const child = execFile(file, args, { env: environment(kubeconfig) }, (_error, out, err) =>
        resolve({ exit: child.exitCode ?? -1, out, err }),
      );
      child.stdin?.end();
    });

  it("protects, checkpoints, goes back, looks, pins and deletes in a terminal", async () => {
    const { client, namespace } = world;
    await world.deploy({ node, containers: [carrier(world)], by: "handler" });
    await using terminal = await Terminal.open(environment());

    expect(await terminal.run("kcr status")).toMatchObject({
      exit: 0,
      shown: expect.stringContaining(`nothing is protected in namespace ${namespace}`),
    });
    const told = await terminal.run(`kcr protect deploy/app --schedule '${RARELY}' --restart`);
    expect(told.shown).toMatch(/^deploy\/app is protected, first checkpoint in \d+d$/m);
    const pod: Pod = await waitFor("a pod of class kcr, and no other", async () => {
      const { items } = await client.list(pods, { namespace, labelSelector: "app=app" });
      const [one, ...others] = items.filter(({ status }) => status?.phase !== "Failed");
      const isReady = one?.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True");
      if (others.length === 0 && isReady && one?.spec?.runtimeClassName === "kcr") return one;
      throw new Error(
        items.map((p) => `${p.metadata.name} ${p.spec?.runtimeClassName} ${p.status?.phase}`).join(),
      );
    });

    expect(await advance(world, pod)).toBe(1);
    const taken = await terminal.run("kcr checkpoint deploy/app");
    expect(taken.exit).toBe(0);
    const [, name = ""] =
      /^(app-\S+) +app +Good +[\d.]+ [KM]iB +[\d.]+ m?s +worker-2, registry/m.exec(taken.shown) ?? [];
    expect(taken.shown, "a hint of what is next").toMatch(new RegExp(`^kcr restore ${name}$`, "m"));
    expect(await terminal.screen({ escapes: true }), "colours").toContain(`${GREEN}Good`);

    expect(await advance(world, pod)).toBe(2);
    await terminal.type(`kcr restore ${name}; echo "[exit $?]"`);
    await terminal.shows(/What it is now is saved first\. Go on\? \[y\/N\]$/);
    await terminal.keys("n");
    await terminal.press("Enter");
    expect(await terminal.shows(/\[exit 1\]/)).toContain("nothing was done");
    await terminal.type(`kcr restore ${name}; echo "[exit $?]"`);
    await terminal.shows(/\[y\/N\]$/);
    await terminal.keys("y");
    await terminal.press("Enter");
    const restored = await terminal.shows(/\[exit \d\]/);
    expect(restored).toMatch(
      new RegExp(`container app of pod/\\S+ runs again from ${name}, restored in place`),
    );
    expect(await mark(world, pod)).toBe(1);
    const [, saved = ""] = /what it was is saved as (\S+)/.exec(restored) ?? [];

    const history = await terminal.run("kcr history deploy/app");
    expect(history.shown.match(/ (checkpoint|restore) /g)).toHaveLength(3);
    expect(history.shown).toMatch(new RegExp(`checkpoint +${saved} +app +Good`));
    const described = await terminal.run(`kcr describe ${name} | cat`);
    expect(described.shown).toMatch(/^Events:\n[\s\S]*CopyVerified[\s\S]*^Next:\n[\s\S]*kcr restore /m);
    const status = await terminal.run("kcr status");
    expect(status.shown).toMatch(/^deploy\/app +OK +\d+s +0 0 1 1 \* +in \d+d +Runtime +\d+s ago +-$/m);

    // It goes with its request, unless it is pinned.
    const [request] = (await client.list(requests, { namespace })).items.filter(
      ({ status }) => status?.checkpoint?.name === name,
    );
    expect(
      (await terminal.run(`kcr pin ${name} && kcr delete request/${request?.metadata.name} -y`)).exit,
    ).toBe(0);
    expect((await terminal.run("kcr unprotect deploy/app -y")).shown).toMatch(
      /^deploy\/app is not protected any more$/m,
    );
    await waitFor(
      "the schedule to go",
      async () => (await client.list(schedules, { namespace })).items.length === 0,
    );
    expect((await world.good(name)).metadata.ownerReferences).toBeUndefined();
    expect((await terminal.run(`kcr delete ${saved} ${name} -y`)).exit).toBe(0);
    for (const gone of [saved, name]) {
      expect(await client.get(checkpoints, { namespace, name: gone }).catch(absent)).toBeUndefined();
    }
  });

  it("leaves nothing behind when it is interrupted", async () => {
    const { client, namespace } = world;
    const { metadata } = await world.checkpoint(shared);
    // No node takes it: a restore into it waits.
    await client.create(pods, {
      metadata: { name: "stuck", namespace },
      spec: { ...shared.spec!, nodeName: undefined, nodeSelector: { "kcr.test/nowhere": "true" } },
    });
    await using terminal = await Terminal.open(environment(), { columns: 70 });
    await terminal.type(`kcr restore ${metadata.name} --into pod/stuck -y; echo "[exit $?]"`);
    // One line of progress, cut at the terminal's width.
    const waiting = await terminal.shows(/^. restore of pod\/stuck: .*…$/m);
    expect(waiting.split("\n").filter((line) => line.includes("restore of"))).toHaveLength(1);
    await terminal.press("C-c");
    const after = await terminal.shows(/\[exit 130\]/);
    expect(after).toContain("called off: nothing has happened to the container");
    expect(after).not.toContain("restore of pod/stuck");
    expect(await terminal.cursor()).toBe(true);
    expect(
      (await client.list(restores, { namespace })).items.map((r) => r.spec.podReference.name),
    ).not.toContain("stuck");

    await terminal.type('kcr status --watch; echo "[exit $?]"');
    await terminal.shows(/nothing is protected|WORKLOAD/);
    await terminal.press("C-c");
    await terminal.shows(/\[exit 130\]/);

    await terminal.type("source <(kcr completion bash)");
    await terminal.keys("kcr desc");
    await terminal.press("Tab");
    await terminal.shows(/kcr describe $|kcr describe$/m);
    await terminal.keys(metadata.name.slice(0, 5));
    await terminal.press("Tab");
    await terminal.shows(new RegExp(`kcr describe ${metadata.name}`));
  });

  it("gives nobody more than their roles do", async () => {
    const commands = [
      ["status"],
      ["protect", "deploy/x", "--schedule", RARELY],
      ["unprotect", "deploy/x"],
      ["schedule", "suspend", "x"],
      ["checkpoint", "pod/x"],
      ["restore", "x"],
      ["history", "deploy/x"],
      ["describe", "x"],
      ["describe", "schedule/x", "request/x", "restore/x"],
      ["delete", "x"],
      ["delete", "-l", "app=x"],
      ["pin", "x"],
      ["unpin", "x"],
    ];
    const answers = await Promise.all(commands.map((command) => kcr([...command, "-n", foreign])));
    for (const [at, { exit, out, err }] of answers.entries()) {
      expect([commands[at], exit, out]).toEqual([commands[at], 1, ""]);
      // After what else may not be listed, if that is told first.
      expect(err).toMatch(/^error: .*forbidden.* \(ApiForbidden\)$/m);
    }
    expect((await kcr(["status", "-A"])).err).toContain("(ApiForbidden)");
    // The role edit sees kcr's objects in its namespace, and makes none.
    expect([0, 3]).toContain((await kcr(["status"], kubeconfigs.editor)).exit);
    const refused = await kcr(["checkpoint", `pod/${shared.metadata.name}`], kubeconfigs.editor);
    expect(refused).toMatchObject({ exit: 1, err: expect.stringContaining("(ApiForbidden)") });
    expect(refused.err).toContain("kcr-operate");
  });

  it("is fit for scripts: plain text, data, exit codes", async () => {
    const pod = `pod/${shared.metadata.name}`;
    const taken = await kcr(["checkpoint", pod, "-o", "json"]);
    expect(taken.exit).toBe(0);
    const { kind, metadata } = JSON.parse(taken.out);
    expect(kind).toBe("Checkpoint");
    const named = await kcr(["history", "deploy/shared", "-o", "name"]);
    expect(named.out.split("\n")[0]).toBe(`checkpoint.checkpoint-restore.kcr.io/${metadata.name}`);
    expect(`${(await kcr(["describe", metadata.name])).out}${named.out}`).not.toContain("\x1b");

    const failed = await kcr(["checkpoint", pod, "-c", "nosuch"]);
    expect(failed).toMatchObject({ exit: 1, out: "" });
    expect(failed.err).toMatch(
      /^error: no container nosuch in pod .*, but app \(ContainerNotFound\)\n {2}\S/,
    );
    expect((await kcr(["describe", "nosuch"])).err).toMatch(/"nosuch" not found \(ApiNotFound\)/);
    expect(await kcr(["restore"])).toMatchObject({ exit: 2, out: "" });

    // A schedule that finds no pod is a problem: the answer is no.
    await world.cluster.kubectl(["-n", world.namespace, "scale", "deploy/shared", "--replicas=0"]);
    await kcr(["protect", "deploy/shared", "--schedule", RARELY]);
    const status = await waitFor("a problem", async () => {
      const now = await kcr(["status"]);
      return now.exit === 3 && now;
    });
    expect(status.out).toMatch(/^deploy\/shared +Problem .* NoMatchingPods$/m);
    expect(status.out).toMatch(/\ndeploy\/shared\n {2}NoMatchingPods: .*\n {4}\S/);
    await kcr(["schedule", "suspend", "deploy/shared"]);
    expect((await world.schedule("shared")).spec.suspend).toBe(true);
  });
});
