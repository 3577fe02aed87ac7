"""How long a call may wait for its turn: what its caller gives it, less what its answer takes."""

from grpc.aio import ServicerContext

from holdfast_coordinator.engine.cell_writer import COMMAND_SECONDS

TIME_SHARE = 0.9
"""Share of the caller's time that is used up: then it still gets the reason, and not only that its time is over."""
DATABASE_TIME_SHARE = 0.95
"""The same for the whole call. Later, so that whatever knows more of the reason has said it."""


def seconds_left(context: ServicerContext) -> float:
    """For how many seconds the commands of a call may wait; without a deadline for as long as any command."""
    left = context.time_remaining()
    return COMMAND_SECONDS if left is None else max(left * TIME_SHARE, 0.0)


def seconds_for_the_database(context: ServicerContext) -> float | None:
    """For how many seconds a call may wait for the database; None without a deadline."""
    left = context.time_remaining()
    return None if left is None else max(left * DATABASE_TIME_SHARE, 0.0)
