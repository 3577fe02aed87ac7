"""The work of the benchmark on Restate, served by granian. Knows Restate and nothing of holdfast."""

import time

import restate
from restate import Context, RunOptions

PAYLOAD = "holdfast benchmark payload ".ljust(150, ".")
STEPS_PER_RUN = 10

bench = restate.Service("bench")


async def echo(payload: str) -> str:
    return payload


async def clock(payload: str) -> int:
    return time.monotonic_ns()


@bench.handler()
async def one_step(ctx: Context, payload: str) -> str:
    return await ctx.run_typed("echo", echo, RunOptions(), payload)


@bench.handler()
async def ten_steps(ctx: Context, payload: str) -> str:
    for _ in range(STEPS_PER_RUN):
        payload = await ctx.run_typed("echo", echo, RunOptions(), payload)
    return payload


@bench.handler()
async def clocked_steps(ctx: Context, steps: int) -> list[int]:
    return [await ctx.run_typed("clock", clock, RunOptions(), PAYLOAD) for _ in range(steps)]


@bench.handler()
async def fan_out(ctx: Context, branches: int) -> int:
    started = [ctx.run_typed("echo", echo, RunOptions(), PAYLOAD) for _ in range(branches)]
    ended = await restate.gather(*started)
    return [await each for each in ended].count(PAYLOAD)


app = restate.app(services=[bench])
