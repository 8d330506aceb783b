import { RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { suits } from "../../api/placement.ts";
import { handlerOf, STRATEGY } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import { type Strategy, strategyOf } from "../../api/strategy.ts";
import { type Facts, type Finding, type Look, value } from "./facts.ts";

/** Whether a schedule protects it. */
export const protection: Look = ({ pod, container, schedules, program, again }): Finding => {
  const topic = "protection";
  if ("why" in schedules) return { topic, verdict: "unknown", message: schedules.why };
  const found = protectionOf(pod, schedules.value).get(container);
  if (found !== undefined) {
    const { metadata, spec } = found.schedule;
    const suspended = spec.suspend === true;
    return {
      topic,
      verdict: suspended ? "warning" : "ok",
      message: `schedule ${metadata.name} (${spec.schedule}) protects it${suspended ? ", and is suspended" : ""}`,
      ...(suspended ? { todo: `${program} schedule resume ${metadata.name}${again}` } : {}),
    };
  }
  return {
    topic,
    verdict: "warning",
    message:
      "no schedule protects it: it is checkpointed when somebody asks for it, and not restored by itself",
    todo: `Protect its workload: ${program} protect deploy/NAME --schedule '*/10 * * * *'${again}`,
  };
};

/** Which way a crash of it would be restored. */
export const restoring: Look = (facts): Finding | Finding[] => {
  const topic = "restore";
  const strategy = strategyNow(facts);
  if (strategy === undefined) {
    return { topic, verdict: "unknown", message: whyUnknown(facts) };
  }
  const { reason, message } = strategy;
  const said = `${strategy.strategy === "None" ? "now by nothing" : strategy.strategy} (${reason}): ${message}`;
  switch (reason) {
    case "HandlerClass":
    case "ImageRestore":
      return { topic, verdict: "ok", message: said };
    case "ImageIfConfigured":
      return {
        topic,
        verdict: "unknown",
        message: said,
        todo: "Look at the node's configuration; docs/guides/install.md has the setting",
      };
    case "RuntimeFromNextPod":
      return [
        {
          topic,
          verdict: "warning",
          message: said,
          todo: "Protect the workload if it is not, then roll it out anew: kubectl rollout restart, or delete the pod",
        },
        ...classes(facts),
      ];
    case "OwnRuntimeClass":
      return no(
        said,
        "Run it without a RuntimeClass of its own, or on a node that restores checkpoint images",
      );
    case "PodUnsuited":
      return no(said, "Change what the message names, or use a node that restores checkpoint images");
    case "NoHandlerNode":
      return no(said, "See why no node has the handler ready: kubectl get nodes -L kcr.io/runtime");
    case "NoImageRestore":
      return no(said, "Use restore.strategy: Auto, and nodes with the runtime handler");
    case "NoRegistry":
      return no(said, "Name a registry in kcr's settings, or use nodes with the runtime handler");
    default:
      // A later operator's.
      reason satisfies never;
      return { topic, verdict: "unknown", message: said };
  }

  function no(message: string, todo: string): Finding {
    return { topic, verdict: "no", message, todo, code: "StrategyUnavailable" };
  }
};

/** What must be there for the next pod to get the class. */
function classes({ pod, handlerNodes, runtimeClass, webhook, program }: Facts): Finding[] {
  const topic = "class";
  if ("value" in runtimeClass && runtimeClass.value?.handler !== RUNTIME_HANDLER) {
    return [
      {
        topic,
        verdict: "no",
        message: `there is no RuntimeClass ${RUNTIME_HANDLER}`,
        todo: `Install kcr anew: ${program} install`,
      },
    ];
  }
  if ("why" in webhook) return [{ topic, verdict: "unknown", message: webhook.why }];
  const calls = webhook.value?.webhooks ?? [];
  if (calls.length === 0) {
    return [
      {
        topic,
        verdict: "no",
        message: "kcr's webhook is not there, so new pods get no class",
        todo: `Install kcr anew: ${program} install`,
      },
    ];
  }
  if (calls.some(({ clientConfig }) => !clientConfig.caBundle)) {
    return [
      {
        topic,
        verdict: "warning",
        message: "kcr's webhook has no certificates yet, so new pods get no class",
        todo: "Look whether the operator runs: kubectl -n kcr-system get pods",
      },
    ];
  }
  // Where it is now is the scheduler's choice, not its own.
  const { nodeName: _, ...spec } = pod.spec ?? { containers: [] };
  const open = (value(handlerNodes) ?? []).filter((node) => suits(spec, node));
  if (open.length === 0) {
    return [
      {
        topic,
        verdict: "no",
        message:
          "no node that its pods may be on, by selector, affinity and taints, has the runtime handler ready",
        todo: "See which nodes do: kubectl get nodes -L kcr.io/runtime",
      },
    ];
  }
  const names = open.map(({ metadata }) => metadata.name);
  return [
    {
      topic,
      verdict: "ok",
      message: `new pods get class kcr, on ${names.length > 3 ? `${names.length} nodes` : names.join(", ")}`,
    },
  ];
}

/** As the operator would say it, which is who decides; where it has said so already, its word counts. */
function strategyNow({
  pod,
  container,
  node,
  schedules,
  settings,
  handlerNodes,
}: Facts): Strategy | undefined {
  const wanted = protectionOf(pod, value(schedules) ?? []).get(container)?.strategy ?? "Auto";
  const config = value(settings);
  const ready = value(handlerNodes);
  const known = config !== undefined && ready !== undefined && "value" in node;
  if (known || handlerOf(pod) !== undefined) {
    return strategyOf(pod, wanted, {
      runtimeVersion: value(node)?.status?.nodeInfo?.containerRuntimeVersion ?? "",
      images: config !== undefined && config.store !== "node" && config.registry !== undefined,
      handlerNodes: (ready ?? []).length > 0,
    });
  }
  const said = pod.status?.conditions?.find(({ type }) => type === STRATEGY);
  if (said === undefined) return undefined;
  const { status, reason, message = "" } = said;
  const [, words = message] = /^\w+: (.*)$/s.exec(message) ?? [];
  const strategy = status !== "True" ? "None" : reason === "HandlerClass" ? "Runtime" : "Image";
  return { strategy, reason: reason as Strategy["reason"], message: words };
}

function whyUnknown({ node, settings, handlerNodes }: Facts): string {
  const whys = [node, settings, handlerNodes].flatMap((known) => ("why" in known ? [known.why] : []));
  return `which way it would be restored: ${[...new Set(whys)].join("; ")}`;
}
