/** What a failed call means: for a stream, whether it resumes; for a form, which field is at fault. */

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@contract/google/rpc/error_details_pb.js";

/** Something that only the reader or the wallet can mend, as a sentence. */
export class WalletError extends Error {}

export interface Failure {
  readonly then: "resume" | "restart" | "stop";
  /** What happened, as a sentence. */
  readonly why: string;
  /** The least time to wait before the next attempt. */
  readonly waitMs: number;
}

/** Asking again in the same words would be answered in the same words. */
const LASTING: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
]);

/** The machine's word for why a call failed, as `perpmesh.errors.v1` names it; empty where there is none. */
export function reasonOf(error: unknown): string {
  return error instanceof ConnectError ? (error.findDetails(ErrorInfoSchema)[0]?.reason ?? "") : "";
}

/** What happened, as a sentence for the reader. */
export function sentenceOf(error: unknown): string {
  if (error instanceof WalletError) return error.message;
  const failed = ConnectError.from(error);
  return failed.rawMessage === "" ? Code[failed.code] : failed.rawMessage;
}

/** The fields at fault, by their path in the contract, with what would pass. */
export function fieldsOf(error: unknown): ReadonlyMap<string, string> {
  const bad = error instanceof ConnectError ? error.findDetails(BadRequestSchema) : [];
  return new Map(bad.flatMap((one) => one.fieldViolations).map((one) => [one.field, one.description]));
}

export function judge(error: unknown): Failure {
  const failed = ConnectError.from(error);
  const reason = reasonOf(failed);
  const delay = failed.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const waitMs = delay === undefined ? 0 : Number(delay.seconds) * 1000 + Math.ceil(delay.nanos / 1e6);
  const why = sentenceOf(failed);
  if (failed.code === Code.OutOfRange || reason === "CURSOR_EXPIRED" || reason === "CURSOR_INVALID") {
    return { then: "restart", why, waitMs };
  }
  // A token that ended in mid-stream: the next call brings another, or fails for want of one.
  if (reason === "TOKEN_INVALID") return { then: "resume", why, waitMs };
  return { then: LASTING.has(failed.code) ? "stop" : "resume", why, waitMs };
}
