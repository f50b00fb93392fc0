// What both trading scripts share: steps that are told as lines of JSON, {step, ok} or {step, error}.
export const say = (value) => process.stdout.write(`${JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}` : v))}\n`);

export async function step(name, run, check = () => true) {
  try {
    const value = await run();
    say(check(value) ? { step: name, ok: true } : { step: name, unexpected: value });
    return value;
  } catch (error) {
    say({ step: name, error: `${error.name}: ${error.message ?? error}`.slice(0, 400) });
    return undefined;
  }
}

export async function until(condition, what, ms = 15000) {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
