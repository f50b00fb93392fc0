/** What a failed call means for the stream: resume where it stood, start again with the present, or stop. */

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "@contract/google/rpc/error_details_pb.js";

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

export function judge(error: unknown): Failure {
  const failed = ConnectError.from(error);
  const reason = failed.findDetails(ErrorInfoSchema)[0]?.reason ?? "";
  const delay = failed.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const waitMs = delay === undefined ? 0 : Number(delay.seconds) * 1000 + Math.ceil(delay.nanos / 1e6);
  const why = failed.rawMessage === "" ? Code[failed.code] : failed.rawMessage;
  if (failed.code === Code.OutOfRange || reason === "CURSOR_EXPIRED" || reason === "CURSOR_INVALID") {
    return { then: "restart", why, waitMs };
  }
  return { then: LASTING.has(failed.code) ? "stop" : "resume", why, waitMs };
}
