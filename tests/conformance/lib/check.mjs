// What was shown and what was not: a line each; the exit code tells.
import { setTimeout as wait } from 'node:timers/promises';

let failed = 0, shown = 0;

export function ok(condition, what, detail) {
  if (condition) {
    ++shown;
    console.log(`ok: ${what}`);
    return true;
  }
  ++failed;
  console.log(`FAILED: ${what}`);
  if (detail !== undefined)
    console.log(`  ${typeof detail === 'string' ? detail
                                               : JSON.stringify(detail)}`
                  .slice(0, 2000));
  return false;
}

export function equal(actual, expected, what) {
  return ok(actual === expected, what,
            `got ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`);
}

/// Whether `text` has every one of `parts`.
export function has(text, parts, what) {
  const missing = [parts].flat().filter(part => !String(text).includes(part));
  return ok(missing.length === 0, what,
            `${JSON.stringify(missing)} is missing in: ${text}`);
}

/// Asks until `condition` (which may be async) holds; false after `ms`.
export async function eventually(condition, ms = 10_000) {
  const until = Date.now() + ms;
  while (!await condition()) {
    if (Date.now() > until)
      return false;
    await wait(10);
  }
  return true;
}

/// `promise`, or a rejection that names `what` after `ms`.
export async function within(ms, what, promise) {
  const clock = new AbortController();
  try {
    return await Promise.race([
      promise,
      wait(ms, null, { signal: clock.signal }).then(() => {
        throw new Error(`${what}: no answer within ${ms} ms`);
      }),
    ]);
  } finally {
    clock.abort();
  }
}

/// Runs `body`, says what it threw, ends the process with 0 or 1.
export async function main(body) {
  try {
    await body();
  } catch (error) {
    ok(false, 'the check ran to its end', error?.stack ?? String(error));
  }
  console.log(`${shown} passed, ${failed} failed`);
  process.exit(failed > 0 || shown === 0 ? 1 : 0);
}
