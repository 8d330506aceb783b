import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { buildKcrImage } from "../../../cluster/images.ts";
import type { Checkpoint } from "../../../src/api/checkpoint.ts";
import { checkpoints } from "../../../src/api/kinds.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { ARCHIVE_REST } from "../../../src/store/copy.ts";
import { Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, crash, deployProtected, handlersReady } from "../../support/runtime.ts";
import { wish } from "../../support/transfer.ts";
import { type Version, versionBefore, whyNotBefore } from "../../support/version-before.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const why = whyNotBefore();

type Age = "now" | "before";
/** The programs: what runs them, and the container whose image is of a version. */
const PROGRAMS = {
  operator: ["deployment/kcr-operator", "operator"],
  agents: ["daemonset/kcr-agent", "agent"],
  handlers: ["daemonset/kcr-installer", "install"],
} as const;
type Program = keyof typeof PROGRAMS;
type Parts = Record<Program | "kinds", Age>;
const ALL_NOW: Parts = { operator: "now", agents: "now", handlers: "now", kinds: "now" };
const ALL_BEFORE: Parts = { operator: "before", agents: "before", handlers: "before", kinds: "before" };

/** The kind that the version before does not know, and that the operator of now needs. */
const DOWNLOADS = "checkpointdownloads.checkpoint-restore.kcr.io";
const RUNTIME = "runtime/runtime.mjs";

/**
 * From all of now to all of before and back, one part after another. Of what speaks with each other (operator and
 * agents through the API server, agent and handler through files, agents over the network, all with the kinds) both
 * ages meet both. In between, a container is captured and killed at each step, one that its node's handler restores
 * and one that the operator restores by its image.
 */
describe.skipIf(cluster === undefined || why !== undefined)(
  `parts of this version and the one before${why === undefined ? "" : ` (skipped: ${why})`}`,
  () => {
    let world: World;
    let kcr: Installation;
    let before: Version;
    let images: Record<Age, string>;
    /** What is there; of agents of both ages, neither. */
    let parts: Partial<Parts> = ALL_NOW;
    let handled: Pod;
    let imaged: Pod;
    /** On another node than `handled`. */
    let elsewhere: Pod;

    beforeAll(async () => {
      world = await World.enter(cluster!, "skew");
      kcr = new Installation(world);
      before = await versionBefore();
      const { pinned } = await buildKcrImage(before.dist, world.cluster.registry.push);
      images = { now: await imageOf("operator"), before: pinned };
      await handlersReady(world);
      const [there, here] = [world.worker("2.4"), world.worker("2.3")];
      const containers = [carrier(world)];
      [handled, elsewhere, imaged] = await Promise.all([
        deployProtected(world, { name: "handled", schedule: RARELY, node: there, containers }),
        deployProtected(world, { name: "elsewhere", schedule: RARELY, node: here, containers }),
        world.deploy({ name: "imaged", schedule: RARELY, node: here, containers }),
      ]);
    });
    afterAll(async () => {
      try {
        await world.leave();
      } finally {
        await arrange(ALL_NOW);
        await handlersReady(world);
      }
    });

    const kubectl = (...args: string[]) => world.cluster.kubectl(["-n", "kcr-system", ...args]);
    const imageOf = (program: Program): Promise<string> => {
      const [workload, container] = PROGRAMS[program];
      const path = `{.spec.template.spec['containers','initContainers'][?(@.name=="${container}")].image}`;
      return kubectl("get", workload, "-o", `jsonpath=${path}`);
    };
    const name = (program: Program, age: Age): Promise<string> => {
      const [workload, container] = PROGRAMS[program];
      return kubectl("set", "image", workload, `${container}=${images[age]}`);
    };

    /** Exchanges what is of the other age: programs after the kinds that they need. */
    async function arrange(wanted: Parts): Promise<void> {
      if (wanted.kinds === "now") await exchangeKinds(wanted.kinds);
      for (const program of Object.keys(PROGRAMS) as Program[]) await exchange(program, wanted[program]);
      if (wanted.kinds === "before") await exchangeKinds(wanted.kinds);
    }

    async function exchangeKinds(age: Age): Promise<void> {
      if (parts.kinds === age) return;
      parts = { ...parts, kinds: undefined };
      if (age === "before") await kubectl("delete", "crd", DOWNLOADS, "--ignore-not-found");
      const directory = join(age === "now" ? "config" : before.config, "crd");
      await kubectl("apply", "-k", directory, "--server-side", "--force-conflicts");
      parts = { ...parts, kinds: age };
    }

    async function exchange(program: Program, age: Age): Promise<void> {
      if (parts[program] === age) return;
      parts = { ...parts, [program]: undefined };
      const [workload] = PROGRAMS[program];
      if (program === "agents")
        await updateAgents({ type: "RollingUpdate", rollingUpdate: { maxUnavailable: "10%" } });
      await name(program, age);
      await kubectl("rollout", "status", workload, "--timeout=120s");
      parts = { ...parts, [program]: age };
    }

    /** The agent of one node alone. */
    async function exchangeAgent(node: string, age: Age): Promise<void> {
      parts = { ...parts, agents: undefined };
      await updateAgents({ type: "OnDelete", rollingUpdate: null });
      await name("agents", age);
      const { metadata } = await kcr.agent(node);
      await kubectl("delete", "pod", metadata.name);
      await waitFor(`the agent of ${node} to be ready`, async () => {
        const { status, spec } = await kcr.agent(node);
        const isReady = status?.conditions?.some((c) => c.type === "Ready" && c.status === "True");
        return isReady && spec?.containers[0]?.image === images[age];
      });
    }

    const updateAgents = (updateStrategy: object): Promise<string> =>
      kubectl("patch", PROGRAMS.agents[0], "-p", JSON.stringify({ spec: { updateStrategy } }));

    /** What is captured and killed later comes back as it was captured. */
    async function prove(): Promise<void> {
      await Promise.all([
        (async () => {
          const carried = await advance(world, handled);
          await capture(world, handled);
          await advance(world, handled);
          await crash(world, handled);
          expect(await mark(world, handled), "what the handler restored").toBe(carried);
        })(),
        (async () => {
          const carried = await advance(world, imaged);
          await world.checkpoint(imaged);
          await advance(world, imaged);
          await world.crash(imaged);
          expect(await mark(world, imaged), "what the operator restored").toBe(carried);
        })(),
      ]);
    }

    /** Of the files that a node calls for each restore. */
    async function handlerOn(node: string): Promise<string> {
      const at = `/opt/kcr-runtime/current/${RUNTIME.split("/").at(-1)}`;
      return (await world.cluster.nodeExec(node, ["sha256sum", at])).split(" ")[0] ?? "";
    }
    const handlerBefore = async (): Promise<string> =>
      createHash("sha256")
        .update(await readFile(join(before.dist, RUNTIME)))
        .digest("hex");

    it("an operator of before works with what is of now", async () => {
      await arrange({ ...ALL_NOW, operator: "before" });
      await prove();
    });

    it("agents of before work with an operator of before, and handlers of now", async () => {
      await arrange({ ...ALL_BEFORE, handlers: "now", kinds: "now" });
      await prove();
    });

    it("handlers of before work with all that is of before, on kinds of before", async () => {
      await arrange(ALL_BEFORE);
      expect(await handlerOn(world.worker("2.4"))).toBe(await handlerBefore());
      await prove();
    });

    it("an operator of now does not take over before its kinds are there, says so, and keeps nobody from working", async () => {
      await arrange(ALL_BEFORE);
      parts = { ...parts, operator: undefined };
      await name("operator", "now");
      const newcomer = await waitFor("an operator of now", async () =>
        (await kcr.operators()).find(({ spec, status }) => {
          return spec?.containers[0]?.image === images.now && status?.phase === "Running";
        }),
      );
      const said = await waitFor("what it says", async () => {
        const log = await kubectl("logs", newcomer.metadata.name);
        return log.split("\n").find((line) => line.includes("KindsOutdated"));
      });
      expect(said).toContain(`${DOWNLOADS} is not there`);
      expect(said).toContain("checkpoints.checkpoint-restore.kcr.io is of protocol 1");
      const leader = await kcr.leader();
      expect(leader.spec?.containers[0]?.image).toBe(images.before);
      await prove();
    });

    it("an operator of now works with agents and handlers of before, once its kinds are there", async () => {
      await arrange({ ...ALL_BEFORE, operator: "now", kinds: "now" });
      await prove();
    });

    /** Those of before do not take copies with what a download needs besides: they have the registry. */
    it("an agent of now takes a copy from one of before, which takes the image instead, and says why", async () => {
      await arrange({ ...ALL_BEFORE, operator: "now", kinds: "now" });
      const [there, here] = [world.worker("2.4"), world.worker("2.3")];
      await exchangeAgent(there, "now");
      const fetched = async () =>
        Promise.all(
          [there, here].map(async (node) =>
            kcr.metric(await kcr.agent(node), 'kcr_transfer_copies_total{result="fetched"}'),
          ),
        );
      const had = await fetched();
      await advance(world, handled);
      // Another mark than that.
      for (const _ of [1, 2, 3]) await advance(world, elsewhere);
      const carried = [await mark(world, handled), await mark(world, elsewhere)];
      const [a, b] = await Promise.all([handled, elsewhere].map(captureThere));
      await Promise.all([wish(world, "from-now", a!, elsewhere), wish(world, "from-before", b!, handled)]);
      for (const wished of ["from-now", "from-before"]) {
        expect((await world.restored(wished)).status, wished).toMatchObject({ phase: "Completed" });
      }
      expect([await mark(world, elsewhere), await mark(world, handled)]).toEqual(carried);
      expect((await fetched()).map((n, i) => n - had[i]!)).toEqual([1, 0]);
      const said = await kubectl("logs", (await kcr.agent(here)).metadata.name);
      expect(said).toContain(`${ARCHIVE_REST}\\" is no file of a checkpoint`);
    });

    /** Captures it, and waits until others are told that its node has a copy. */
    async function captureThere(pod: Pod): Promise<Checkpoint> {
      const { metadata } = await world.checkpoint(pod);
      return await waitFor(`a copy of ${metadata.name} to be told of`, async () => {
        const taken = await world.client.get(checkpoints, metadata);
        const isTold = taken.status?.copies?.some(({ kind }) => kind === "Node");
        return isTold && taken.status?.contentDigest !== undefined && taken;
      });
    }

    it("agents of now work with handlers of before", async () => {
      await arrange({ ...ALL_NOW, handlers: "before" });
      expect(await handlerOn(world.worker("2.4"))).toBe(await handlerBefore());
      await prove();
    });

    it("and all of now is whole again", async () => {
      await arrange(ALL_NOW);
      expect(await handlerOn(world.worker("2.4"))).not.toBe(await handlerBefore());
      await prove();
    });
  },
);
