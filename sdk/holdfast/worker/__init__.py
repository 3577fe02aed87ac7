"""The worker: leases runs, advances their code, executes attempts, reports what came of them.

Pure here: `retries`, `step_progress`, `holder`. I/O and threads: `attempts`, `threads`, `session`, `heartbeat`,
`worker`.
"""

from holdfast.worker.worker import Worker

__all__ = ["Worker"]


__all__ = ["Worker"]
