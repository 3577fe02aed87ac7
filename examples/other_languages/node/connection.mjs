// What client and worker share: calls of the services, and values and times as the protocol writes them.
// Made of the .proto files when it is loaded; no code is generated.
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const ADDRESS = process.env.HOLDFAST_ADDRESS ?? "localhost:7410";
const PROTOS = process.env.HOLDFAST_PROTOS ?? fileURLToPath(new URL("../../../proto", import.meta.url));

const api = grpc.loadPackageDefinition(
  loader.loadSync(["holdfast/api/v1/run_service.proto", "holdfast/api/v1/worker_service.proto"], {
    includeDirs: [PROTOS],
    keepCase: true,
    longs: String, // attach_no has up to 63 bits, a number of JavaScript 53
    enums: String,
    defaults: true,
  }),
).holdfast.api.v1;

/** A connection of its own to a service: "RunService" or "WorkerService". */
export class Connection {
  #open = new Set();
  #stub;

  constructor(service) {
    this.#stub = new api[service](ADDRESS, grpc.credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1, // else a new connection to the same address is the old one
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000, // gRPC's own two minutes are longer than a session lives
      "grpc.max_receive_message_length": 16 * 1024 * 1024,
    });
  }

  /** Makes one call; `seconds` is its limit, for the other side may be gone without a word. */
  call(method, request, seconds = 10) {
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + seconds * 1_000;
      const open = this.#stub[method](request, { deadline }, (error, answer) => {
        this.#open.delete(open);
        if (error) reject(error);
        else resolve(answer);
      });
      this.#open.add(open);
    });
  }

  /** Ends it; calls that are open fail. */
  close() {
    for (const open of this.#open) open.cancel();
    this.#stub.close();
  }
}

/** Why the coordinator refused a call, "RUN_NOT_FOUND"; undefined when the call did not get so far. */
export const reason = (error) => error.metadata?.get("holdfast-reason")[0];

const { UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED } = grpc.status;

/** True when the same call may succeed later: it was cut off, or the coordinator is busy. Nothing else is repeated. */
export const isPassing = (error) =>
  [UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED].includes(error.code) || reason(error) === "OVERLOADED";

/** Waits before repeat number `repeat`, from 0: up to 0.1 s, then twice as long each time, up to 1 s. */
export const pause = (repeat) => setTimeout(Math.min(100 * 2 ** repeat, 1_000) * (0.5 + Math.random() / 2));

export const encoded = (value) => ({ data: Buffer.from(JSON.stringify(value ?? null)) });

export function decoded(payload) {
  if (payload.encoding && payload.encoding !== "json") throw new Error(`a payload is encoded as ${payload.encoding}`);
  return JSON.parse(payload.data);
}

/** A Duration, or a Timestamp since 1970. */
export const milliseconds = ({ seconds, nanos }) => Number(seconds) * 1_000 + nanos / 1e6;

/** A Timestamp so many whole milliseconds later; exact, as numbers of nanoseconds since 1970 are not. */
export function later({ seconds, nanos }, took) {
  const sum = nanos + took * 1e6;
  return { seconds: Number(seconds) + Math.floor(sum / 1e9), nanos: sum % 1e9 };
}
