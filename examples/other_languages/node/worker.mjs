// A worker for queued steps: takes attempts, runs them, reports how they ended. Workflows stay with workers in Python.
//
//     node worker.mjs node        # the queue that it serves
//
// One rule is enough to outlive whatever happens to the connection: after any call that failed, connect anew, open the
// session again with all that is held, and make the call again. What the session lost, the coordinator says.
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import { Connection, decoded, encoded, isPassing, later, milliseconds, pause, reason } from "./connection.mjs";

/** A failure that no repeat would mend. */
class Permanent extends Error {}

const steps = {
  /** `signal` aborts when the result is not wanted any more; `key` is the same in every attempt of a step. */
  async draw_cover({ signal, key }, title, seconds) {
    if (typeof title !== "string") throw new Permanent("a title is a text");
    if (title === "") throw new Error("the title is empty");
    await setTimeout(seconds * 1_000, null, { signal });
    return `${title}, drawn by node`;
  },
};

const QUEUE = process.argv[2] ?? "default";
const SLOTS = 10; // attempts at once
const RETRIES = 3; // of steps whose caller asks for no other number
const BUILD = "1";

const held = new Map(); // run and step -> { attempt, abort, done }; done: a promise
let connection, session, attaching; // session: the answer of OpenSession
let pollNo = 0, beatNo = 0, received = [], surelyAliveUntil = 0;

const keyOf = ({ run_id, step }) => `${run_id} ${step}`;
const heldOf = ({ run_id, step, epoch }) => ({ run_id, step, epoch });
const holdings = () => [...held.values()].map(({ attempt }) => heldOf(attempt));
const isHeld = (one) => held.get(keyOf(one))?.attempt.epoch === one.epoch;

/** Calls for this session. */
const call = (method, request, seconds) =>
  connection.call(method, { session_id: session.session_id, attach_no: session.attach_no, ...request }, seconds);

/** Holds it no longer: it is reported, cancelled, or with another worker. */
function drop(one) {
  if (!isHeld(one)) return;
  held.get(keyOf(one)).abort.abort();
  held.delete(keyOf(one));
}

// The session

async function attach() {
  for (let repeat = 0; ; repeat++) {
    connection?.close();
    connection = new Connection("WorkerService");
    const sent = Date.now();
    try {
      const opened = await connection.call("OpenSession", {
        session_id: session?.session_id, held: holdings(), queue: QUEUE, steps: Object.keys(steps),
        build: BUILD, host: hostname(), pid: process.pid, slots: SLOTS,
      });
      session = { ...opened, ttl: milliseconds(opened.ttl), interval: milliseconds(opened.heartbeat_interval) };
      surelyAliveUntil = sent + session.ttl - 1_000;
      received = [];
      opened.ended.forEach(drop);
      console.log(`session ${session.session_id} is open`);
      return;
    } catch (error) {
      if (!session && !isPassing(error)) throw error;
      if (reason(error) === "SESSION_EXPIRED") { // its work is with others by now
        holdings().forEach(drop);
        session = { ...session, session_id: "" };
      }
      await pause(repeat);
    }
  }
}

/** Makes a call until it succeeds. The session is opened again once for all calls that fail together. */
async function insist(make) {
  for (let repeat = 0; ; repeat++) {
    const current = session;
    try {
      return await make();
    } catch (error) {
      if (current === session && !attaching) {
        console.log(`cut off: ${error.details ?? error.message}`);
        attaching = attach().finally(() => (attaching = undefined));
      }
      await attaching;
      await pause(repeat);
    }
  }
}

async function heartbeat() {
  const { ttl, interval } = session, sent = Date.now();
  const { ended } = await call("Heartbeat", { msg_no: ++beatNo, held: holdings() }, ttl / 2_000);
  surelyAliveUntil = sent + ttl - 1_000;
  ended.forEach(drop);
  await setTimeout(Math.max(0, sent + interval - Date.now()));
}

async function poll() {
  // Without a free slot there is nothing to ask for; heartbeats say what ends meanwhile.
  if (held.size >= SLOTS) return Promise.race([...held.values()].map(({ done }) => done));
  const seconds = milliseconds(session.poll_wait) / 1_000 + 5;
  const { attempts, notices } = await call("Poll", { msg_no: ++pollNo, free_slots: SLOTS - held.size, received }, seconds);
  if (Date.now() > surelyAliveUntil) throw new Error("no heartbeat was answered for too long");
  for (const notice of notices) if (notice.ended || notice.cancelled) drop(notice.held);
  const granted = attempts.filter(({ attach_no }) => attach_no === session.attach_no);
  for (const attempt of granted) {
    if (isHeld(attempt)) continue; // handed out once more
    held.get(keyOf(attempt))?.abort.abort();
    const holding = { attempt, abort: new AbortController() };
    held.set(keyOf(attempt), holding);
    holding.done = run(attempt, holding.abort.signal);
  }
  received = granted.map(heldOf);
}

// Attempts

async function run(attempt, signal) {
  const what = `step ${attempt.step} of ${attempt.run_id}`, began = Date.now();
  console.log(`${what}: attempt ${attempt.attempt} begins`);
  let report;
  try {
    // With more failures, the attempts before ran past their limit: the coordinator ended them, and we are to decide.
    if (attempt.failures > retriesOf(attempt)) throw new Permanent("no attempt was done within its time limit");
    const context = { signal, key: `${attempt.seed || attempt.run_id}/${attempt.step}` };
    const result = encoded(await steps[attempt.name](context, ...attempt.arguments.positional.map(decoded)));
    if (result.data.length > Number(session.limits.payload_bytes)) throw new Permanent("the result is too large");
    report = reportOf(attempt, Date.now() - began, { result });
  } catch (error) {
    report = reportOf(attempt, Date.now() - began, { error });
  }
  while (isHeld(attempt)) {
    const answer = await insist(() => isHeld(attempt) && call("Report", { attempts: [report] }));
    if (!answer) return;
    const [{ recorded, refusal, busy }] = answer.attempts;
    console.log(`${what}: ${recorded ? "recorded" : busy ? "busy" : refusal || "not wanted any more"}`);
    if (busy) await setTimeout(200);
    else drop(attempt);
  }
}

const retriesOf = ({ retry }) => retry?.retries ?? RETRIES;

/** What the attempt was granted with, and how it ended. */
function reportOf(attempt, took, { result, error }) {
  const { run_id, step, epoch, scheduled_at, eligible_at, started_at, failures, retry } = attempt;
  const record = {
    attempt: attempt.attempt, epoch, scheduled_at, eligible_at, started_at,
    ended_at: later(started_at, took), // by the database's clock, whatever ours says
    session_id: session.session_id, build: BUILD, outcome: "ATTEMPT_OUTCOME_COMPLETED",
  };
  if (!error) return { run_id, step, epoch, attempt: attempt.attempt, record, result };
  const isRepeated = !(error instanceof Permanent) && failures < retriesOf(attempt);
  record.outcome = isRepeated ? "ATTEMPT_OUTCOME_FAILED_RETRYABLE" : "ATTEMPT_OUTCOME_FAILED_FINAL";
  record.failure = { error_type: error.constructor.name, message: error.message, traceback: error.stack };
  if (isRepeated) record.retry_delay = retry?.constant ?? { seconds: Math.min(2 ** failures, 300) };
  return { run_id, step, epoch, attempt: attempt.attempt, record };
}

async function forever(turn) {
  for (;;) await insist(turn);
}

process.once("SIGTERM", async () => {
  await attaching;
  attaching = new Promise(() => {}); // for good: what fails from now on opens no session
  await call("CloseSession", {}, 2).catch((error) => console.log(`the session ends by its time limit: ${error.details}`));
  process.exit();
});
await attach();
await Promise.all([forever(heartbeat), forever(poll)]);
