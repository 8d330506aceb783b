import type { Range } from "../transfer/protocol.ts";

/** The bytes of an archive, wherever they lie. To be closed. */
export interface Archive extends AsyncDisposable {
  /** Where they lie, for people. */
  readonly from: string;
  /** In bytes. */
  readonly size: number;
  /** Errors: TransferError, RegistryError; the signal's reason. */
  read(range: Range, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
