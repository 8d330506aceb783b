import { type ErrorCode, KcrError } from "../../api/errors.ts";
import type { CaptureSource } from "../../api/request.ts";
import { checkpoint, KubeletError, type KubeletOptions, type Target } from "../kubelet.ts";

/** What dumps a container on this node. */
export interface DumpEngine {
  /**
   * Dumps a container and gives the archive's name in the checkpoint directory. The container runs on afterwards. A
   * dump that has begun is not stopped.
   *
   * Errors: KcrError; {@link retriesOf} says how often it is worth another try.
   */
  dump(target: Target, source: CaptureSource, secondsLeft: number): Promise<string>;
  /**
   * Whether no dump of the run is under way that another process has begun: its archive, if it made one, is there
   * then. What such a process left undone is undone first.
   */
  settled(source: CaptureSource): Promise<boolean>;
}

/** What an engine did not do, and how often it is worth asking again. */
export class EngineError extends KcrError {
  readonly retries: number;

  constructor(code: ErrorCode, message: string, retries = 0, options?: ErrorOptions) {
    super(code, message, options);
    this.name = "EngineError";
    this.retries = retries;
  }
}

/** Undefined for an error that is no engine's. */
export const retriesOf = (error: unknown): number | undefined =>
  error instanceof EngineError || error instanceof KubeletError ? error.retries : undefined;

/** The kubelet of that node, and through it the node's runtime. */
export const kubeletEngine = (kubelet: KubeletOptions, node: string): DumpEngine => ({
  dump: (target, _source, secondsLeft) =>
    checkpoint(kubelet, target, secondsLeft).catch((error: unknown) => {
      throw withLog(error, node);
    }),
  // Nobody knows; what it leaves behind is whole or not.
  settled: async () => true,
});

/** containerd's words (cmd/containerd-shim-runc-v2/process/init.go); it keeps CRIU's log as long as the container. */
const LOG_PATH = /criu failed: .*path= (\/\S+\/criu-dump\.log)/;

/** An error of CRIU's of which the runtime says nothing but where CRIU's log is: how to come by that. */
export function withLog(error: unknown, node: string): unknown {
  const path = error instanceof KubeletError ? LOG_PATH.exec(error.message)?.[1] : undefined;
  if (!(error instanceof KubeletError) || path === undefined) return error;
  const how = `kubectl debug node/${node} -it --image=busybox -- grep Error /host${path}`;
  return new KubeletError(
    error.code,
    `CRIU failed, and only its log on node ${node} says why, as long as the container lives: ${how}`,
    error.retries,
    { cause: error },
  );
}
