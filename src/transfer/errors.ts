/**
 * `unreachable`: no answer, a connection that broke, a certificate that is not accepted; another try may work.
 * `busy`: the peer sends as much as it may; another try will work.
 * `refused`: the peer gives this node nothing of that copy.
 * `missing`: the peer does not have it, or knows that what it has is damaged.
 * `damaged`: what the peer has is not what it should be.
 * `protocol`: answers that are none.
 * `version`: one side is of a later version than the other knows.
 */
export type TransferErrorCode =
  | "unreachable"
  | "busy"
  | "refused"
  | "missing"
  | "damaged"
  | "protocol"
  | "version";

/** Why nothing, or not all, could be fetched from a peer. */
export class TransferError extends Error {
  readonly code: TransferErrorCode;

  constructor(code: TransferErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TransferError";
    this.code = code;
  }
}
