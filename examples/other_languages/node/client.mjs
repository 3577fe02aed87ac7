// Starts a run, waits for its result, sends it signals; goes on when the coordinator is away meanwhile.
//
//     node client.mjs start publish '["Dune", "node"]'
//     node client.mjs signal run_... approval true
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { Connection, decoded, encoded, isPassing, pause } from "./connection.mjs";

const runs = new Connection("RunService");

/** Makes a call until it is answered. The request has an id, chosen before, by which repeats are known as one. */
async function answered(method, request, seconds) {
  for (let repeat = 0; ; repeat++) {
    try {
      return await runs.call(method, request, seconds);
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (repeat === 0) console.error(`${method} is repeated: ${error.details}`);
      await pause(repeat);
    }
  }
}

/** A ULID in lower case: 48 bits of milliseconds, 80 random bits, in Crockford's base 32. */
function newStartId() {
  let bits = (BigInt(Date.now()) << 80n) | BigInt(`0x${randomBytes(10).toString("hex")}`);
  let text = "";
  for (; text.length < 26; bits >>= 5n) text = "0123456789abcdefghjkmnpqrstvwxyz"[Number(bits & 31n)] + text;
  return text;
}

/** The value with the keys of all objects sorted: equal arguments must have equal hashes. */
function canonical(value) {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
}

function argument(value) {
  const payload = encoded(canonical(value));
  return { ...payload, content_sha256: createHash("sha256").update(payload.data).digest() };
}

async function start(workflow, values) {
  const request = { start: { start_id: newStartId(), workflow, arguments: { positional: values.map(argument) } } };
  const { run } = await answered("StartRun", request);
  return run.run_id;
}

async function result(runId) {
  let closed = [];
  while (closed.length === 0) {
    ({ closed } = await answered("WaitRuns", { run_ids: [runId], wait: { seconds: 30 } }, 40));
  }
  const [{ status, result, failure }] = closed;
  if (status === "RUN_STATUS_COMPLETED") return decoded(result);
  throw new Error(`${status}: ${failure?.error_type ?? "no failure"}: ${failure?.message ?? ""}`);
}

async function signal(run, name, value) {
  await answered("SignalRun", { run, signal: { name, payload: encoded(value) }, request_id: randomUUID() });
}

const [command, ...words] = process.argv.slice(2);
try {
  if (command === "start") {
    const runId = await start(words[0], JSON.parse(words[1] ?? "[]"));
    console.log(`started ${runId}`);
    console.log(`result ${JSON.stringify(await result(runId))}`);
  } else if (command === "signal") {
    await signal(words[0], words[1], JSON.parse(words[2] ?? "null"));
    console.log("signalled");
  } else {
    throw new Error("start WORKFLOW ARGUMENTS, or signal RUN NAME VALUE");
  }
} catch (error) {
  console.error(error.details ?? error.message);
  process.exitCode = 1;
}
runs.close();
