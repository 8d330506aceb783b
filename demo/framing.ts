import { SCHEDULE_ANNOTATION } from "../src/api/labels.ts";
import type { Screen } from "./screen.ts";
import { thousands } from "./screen.ts";
import { isWhole, type Result, type Seen } from "./summary.ts";
import { NAME, NAMESPACE } from "./workload.ts";

/** What the demo says before and after: what it is about, what to do next, what went wrong. */

export function opening(screen: Screen): void {
  screen.line(screen.style("bold", "kcr keeps the memory of running containers."));
  screen.say(
    "This is a real Kubernetes cluster, a real container runtime and a real crash. Where it says kubectl, type: npm run cluster -- kubectl --namespace demo",
  );
}

/** How to run a command of cluster/ on the cluster of that name. */
const clusterCommand = (name: string): string =>
  name === "kcr" ? "npm run cluster --" : `npm run cluster -- --name ${name}`;

export function closing(
  screen: Screen,
  { name, result, seen, kept }: { name: string; result: Result; seen: Seen; kept: boolean },
): void {
  const keys = thousands(result.keysBefore);
  screen.line();
  screen.line(
    isWhole(result, seen)
      ? screen.style("green", `Redis lost its process, and none of its ${keys} keys.`)
      : screen.style("red", `Not everything came back: see above.`),
  );
  if (!kept) return;
  const kubectl = `${clusterCommand(name)} kubectl --namespace ${NAMESPACE}`;
  const next: [string, string][] = [
    ["look at what there is", `${kubectl} get ckpts,ckptreq,ckpt`],
    ["all about the last checkpoint", `${kubectl} describe ckpt ${result.checkpoint.name}`],
    ["crash it again", `${clusterCommand(name)} shell ${seen.node} pkill -KILL redis-server`],
    ["and see what kcr does", `${kubectl} events --for deployment/${NAME} --watch`],
    ["count its keys", `${kubectl} exec deploy/${NAME} -- redis-cli DBSIZE`],
    ["take checkpoints again", `${kubectl} patch ckpts ${NAME} --type merge -p '{"spec":{"suspend":false}}'`],
    ["protect a workload of your own", `${kubectl} annotate deploy/NAME ${SCHEDULE_ANNOTATION}='@hourly'`],
    ["take the cluster away", `${clusterCommand(name)} down`],
  ];
  screen.line();
  screen.say(
    "The cluster stays up. The schedule is suspended, so that checkpoints do not fill the disk; restores go on. To try next:",
  );
  for (const [what, command] of next) {
    screen.line(`  ${screen.style("dim", `# ${what}`)}`);
    screen.line(`  ${command}`);
  }
}

/** For a machine that cannot run the local cluster. */
export function cannotRun(screen: Screen, whyNot: string): void {
  screen.line(`The demo cannot run on this machine: ${whyNot}.`);
  screen.say(
    "It brings up a real Kubernetes cluster here, and for that it needs Linux (Debian or Ubuntu), root, and Go 1.21 or newer.",
  );
  screen.say(
    "What you can do instead: run it in a virtual machine, or install kcr into a cluster that you already have, as docs/guides/install.md tells.",
  );
}

export function interrupted(screen: Screen, name: string): void {
  screen.line();
  screen.line("Interrupted.");
  screen.say(
    `What is half done is finished or made anew by the next run: npm run demo. To take everything away instead: ${clusterCommand(name)} down`,
  );
}
