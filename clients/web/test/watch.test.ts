import assert from "node:assert/strict";
import test, { mock } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { EndSchema, HeartbeatSchema, LiveSchema } from "@contract/perpmesh/type/v1/stream_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "@contract/google/rpc/error_details_pb.js";
import { judge } from "../src/failure";
import { Watch, type Link, type Message, SILENCE_MS, STEADY_MS } from "../src/watch";

type Value = { case: "value"; value: string };
type Step = Message<Value> | Error | "silence" | "close";

const value = (cursor: string, text: string): Step => ({ cursor, event: { case: "value", value: text } });
const live = (cursor: string): Step => ({ cursor, event: { case: "live", value: create(LiveSchema) } });
const heartbeat = (cursor: string): Step => ({ cursor, event: { case: "heartbeat", value: create(HeartbeatSchema) } });
const end = (cursor: string, resumable: boolean): Step => ({
  cursor,
  event: { case: "end", value: create(EndSchema, { reason: "DRAINING", message: "The room restarts.", resumable }) },
});

/** Runs a watch against scripted calls; what happens is written down in order. Timers are the test's. */
class Stage {
  readonly log: string[] = [];
  readonly waits: number[] = [];
  last: Link = { kind: "paused" };
  refuse = "";
  aborted = 0;
  readonly watch: Watch<Value>;

  constructor(private readonly calls: Step[][]) {
    this.watch = new Watch<Value>(
      (cursor, signal) => this.#call(cursor, signal),
      {
        opened: (fresh) => this.log.push(fresh ? "opened fresh" : "opened"),
        event: (event) => {
          this.log.push(event.value);
          return event.value === this.refuse ? "it does not fit" : null;
        },
        live: (fresh) => this.log.push(fresh ? "live fresh" : "live"),
        link: (link) => {
          this.last = link;
          if (link.kind === "waiting") this.waits.push(link.waitMs);
        },
        ended: (said) => this.log.push(`end ${said.reason}`),
      },
      () => 1,
    );
  }

  get why(): string {
    return "why" in this.last ? this.last.why : "";
  }

  async *#call(cursor: string, signal: AbortSignal): AsyncGenerator<Message<Value>> {
    this.log.push(`call ${cursor || "-"}`);
    const gone = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => {
        this.aborted += 1;
        reject(new ConnectError("aborted", Code.Canceled));
      });
    });
    gone.catch(() => undefined);
    for (const step of this.calls.shift() ?? ["silence"]) {
      if (step === "close") return;
      if (step === "silence") await gone;
      else if (step instanceof Error) throw step;
      else yield step as Message<Value>;
    }
    await gone;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

async function pass(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await settle();
}

function scripted(name: string, body: () => Promise<void>): void {
  test(name, async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    try {
      await body();
    } finally {
      mock.timers.reset();
    }
  });
}

scripted("a broken call is opened again after the last cursor", async () => {
  const cut = new ConnectError("cut", Code.Unavailable);
  const stage = new Stage([[value("a", "1"), live("b"), value("c", "2"), cut], [live("d")]]);
  stage.watch.start();
  await settle();
  assert.equal(stage.last.kind, "waiting");
  await pass(250);
  assert.deepEqual(stage.log, ["opened fresh", "call -", "1", "live fresh", "2", "opened", "call c", "live"]);
  assert.equal(stage.last.kind, "live");
});

scripted("a call that ends without a reason is opened again", async () => {
  const stage = new Stage([[live("a"), "close"], [live("b")]]);
  stage.watch.start();
  await settle();
  await pass(250);
  assert.ok(stage.log.includes("call a"));
  assert.equal(stage.last.kind, "live");
});

scripted("silence is a fault, and a heartbeat breaks it", async () => {
  const stage = new Stage([[live("a"), "silence"], [live("b")]]);
  stage.watch.start();
  await settle();
  await pass(SILENCE_MS - 1);
  assert.equal(stage.last.kind, "live");
  assert.equal(stage.aborted, 0);
  await pass(1);
  assert.equal(stage.aborted, 1);
  assert.match(stage.why, /Nothing was received for 20 s/);

  const beating = new Stage([[live("a"), heartbeat("b"), "silence"]]);
  beating.watch.start();
  await settle();
  await pass(SILENCE_MS - 1);
  assert.equal(beating.last.kind, "live");
});

scripted("waits double up to eight seconds, and start small again after a steady stream", async () => {
  const broken = (): Step[] => [new ConnectError("down", Code.Unavailable)];
  const stage = new Stage([...Array.from({ length: 8 }, broken), [live("a"), "silence"], broken()]);
  stage.watch.start();
  await settle();
  for (let call = 0; call < 8; call += 1) await pass(8_000);
  assert.deepEqual(stage.waits, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
  await pass(STEADY_MS);
  await pass(SILENCE_MS);
  assert.equal(stage.waits.at(-1), 250);
});

scripted("a stream that breaks as soon as it is live does not start the waits again", async () => {
  const stage = new Stage(Array.from({ length: 4 }, (): Step[] => [live("a"), "close"]));
  stage.watch.start();
  for (let call = 0; call < 4; call += 1) {
    await settle();
    await pass(2_000);
  }
  assert.deepEqual(stage.waits, [250, 500, 1000, 2000]);
});

scripted("a cursor that is too old, and a value that does not fit, start again with the present", async () => {
  const stage = new Stage([
    [live("a"), "close"],
    [new ConnectError("the cursor is too old", Code.OutOfRange)],
    [value("b", "bad"), live("c")],
    [live("d")],
  ]);
  stage.refuse = "bad";
  stage.watch.start();
  await settle();
  for (let call = 0; call < 3; call += 1) await pass(1_000);
  assert.deepEqual(stage.log.filter((line) => line.startsWith("call")), ["call -", "call a", "call -", "call -"]);
  assert.equal(stage.last.kind, "live");
});

scripted("an end that can be resumed is; any other stops until it is started by hand", async () => {
  const stage = new Stage([[live("a"), end("b", true)], [live("c"), end("d", false)], [live("e")]]);
  stage.watch.start();
  await settle();
  await pass(250);
  assert.ok(stage.log.includes("call b"));
  assert.deepEqual(stage.last, { kind: "stopped", why: "DRAINING: The room restarts." });
  await pass(60_000);
  assert.equal(stage.log.filter((line) => line.startsWith("call")).length, 2);
  stage.watch.start();
  await settle();
  assert.equal(stage.last.kind, "live");
});

scripted("what would be refused in the same words again stops", async () => {
  for (const code of [Code.InvalidArgument, Code.NotFound, Code.PermissionDenied, Code.Unimplemented]) {
    const stage = new Stage([[new ConnectError("no", code)]]);
    stage.watch.start();
    await settle();
    assert.deepEqual(stage.last, { kind: "stopped", why: "no" }, Code[code]);
  }
});

scripted("a wait is ended by start, a call by pause and by close", async () => {
  const stage = new Stage([[new ConnectError("down", Code.Unavailable)], [live("a"), "silence"], [live("b"), "silence"]]);
  stage.watch.start();
  await settle();
  stage.watch.start();
  await settle();
  assert.equal(stage.last.kind, "live");
  stage.watch.pause();
  await settle();
  assert.deepEqual([stage.last.kind, stage.aborted], ["paused", 2]);
  stage.watch.start();
  await settle();
  assert.ok(stage.log.includes("call a"));
  stage.watch.close();
  await pass(60_000);
  assert.equal(stage.aborted, 3);
  assert.equal(stage.log.filter((line) => line.startsWith("call")).length, 3);
});

test("a refusal for too many requests is obeyed", () => {
  const details = [
    { desc: RetryInfoSchema, value: { retryDelay: create(DurationSchema, { seconds: 3n, nanos: 500_000_000 }) } },
    { desc: ErrorInfoSchema, value: { reason: "LIMIT_REACHED", domain: "perpmesh" } },
  ];
  const failed = new ConnectError("too many", Code.ResourceExhausted, undefined, details);
  assert.deepEqual(judge(failed), { then: "resume", why: "too many", waitMs: 3500 });
});

test("a cursor of another server is dropped, whatever the code says", () => {
  const details = [{ desc: ErrorInfoSchema, value: { reason: "CURSOR_INVALID", domain: "perpmesh" } }];
  assert.equal(judge(new ConnectError("no cursor", Code.InvalidArgument, undefined, details)).then, "restart");
  assert.equal(judge(new TypeError("Failed to fetch")).then, "resume");
});
