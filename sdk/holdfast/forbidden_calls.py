"""Which calls of Python's own modules workflow code must not make, and what to write instead.

One table for two readers: the guards of a worker raise where such a call is made, and `holdfast check` finds it in
the source. It names functions and holds none, so that reading it imports nothing.
"""

from typing import Literal, NamedTuple

Kind = Literal["clock", "sleep", "random", "uuid", "file", "network", "process", "thread", "shared"]
"""What a call asks for."""

Condition = Literal["always", "without_arguments", "with_one_argument", "without_a_seed"]
"""With which arguments a call is forbidden."""

NOW = "use holdfast.now(), which is the same in every replay, or put this in a step"
SLEEP = "use `holdfast.sleep(...)`, which holds no worker"
RANDOM = "use holdfast.random(), which is the same in every replay, or put this in a step"
UUID = "use holdfast.uuid4(), which is the same in every replay, or put this in a step"
STEP = "put this in a step"
PROCESS = "the process runs others too; to end this run, return or raise"
UNGUARDED = "where it does no harm, write it in `with holdfast.unguarded():`"


class ForbiddenCalls(NamedTuple):
    """Functions of one module, or methods of one class, that are forbidden for one reason.

    owner: the dotted name of the module or class. instead: what to write in place of the call.
    """

    owner: str
    names: tuple[str, ...]
    kind: Kind
    instead: str
    condition: Condition = "always"


CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time")
_CHANCE = (
    *("random", "uniform", "triangular", "randint", "choice", "randrange", "sample", "shuffle", "choices"),
    *("normalvariate", "lognormvariate", "expovariate", "vonmisesvariate", "gammavariate", "gauss", "betavariate"),
    *("binomialvariate", "paretovariate", "weibullvariate", "getstate", "setstate", "getrandbits", "seed", "randbytes"),
)
"""The functions of the module `random` that share one source of chance."""
_FILES = ("open", "listdir", "scandir", "stat", "remove", "unlink", "rename", "replace", "mkdir", "rmdir")
_PROCESSES = ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve", "kill", "waitpid")
_SIGNALS = ("raise_signal", "pthread_kill", "alarm", "setitimer", "signal", "set_wakeup_fd")

FORBIDDEN_CALLS = (
    ForbiddenCalls("time", CLOCKS, "clock", NOW),
    ForbiddenCalls("time", ("localtime", "gmtime", "ctime"), "clock", NOW, "without_arguments"),
    ForbiddenCalls("time", ("strftime",), "clock", NOW, "with_one_argument"),
    ForbiddenCalls("datetime.datetime", ("now", "utcnow"), "clock", NOW),
    ForbiddenCalls("datetime.date", ("today",), "clock", NOW),
    ForbiddenCalls("time", ("sleep",), "sleep", SLEEP),
    ForbiddenCalls("random", _CHANCE, "random", RANDOM),
    ForbiddenCalls("random.Random", ("seed",), "random", RANDOM, "without_a_seed"),
    ForbiddenCalls("random.SystemRandom", ("random", "getrandbits", "randbytes"), "random", RANDOM),
    ForbiddenCalls("os", ("urandom", "getrandom"), "random", RANDOM),
    ForbiddenCalls("uuid", ("uuid1", "uuid4", "uuid6", "uuid7"), "uuid", UUID),
    ForbiddenCalls("builtins", ("open", "input"), "file", STEP),
    ForbiddenCalls("io", ("open",), "file", STEP),
    ForbiddenCalls("os", _FILES, "file", STEP),
    ForbiddenCalls("os", _PROCESSES, "process", STEP),
    ForbiddenCalls("os", ("killpg", "abort", "_exit"), "shared", PROCESS),
    ForbiddenCalls("signal", _SIGNALS, "shared", PROCESS),
    ForbiddenCalls("_thread", ("interrupt_main",), "shared", PROCESS),
    ForbiddenCalls("subprocess.Popen", ("__init__",), "process", STEP),
    ForbiddenCalls("socket.socket", ("__init__",), "network", STEP),
    ForbiddenCalls("socket", ("getaddrinfo", "gethostbyname", "gethostname"), "network", STEP),
    ForbiddenCalls("threading.Thread", ("start",), "thread", STEP),
    ForbiddenCalls("multiprocessing.process.BaseProcess", ("start",), "process", STEP),
    ForbiddenCalls("concurrent.futures.ThreadPoolExecutor", ("submit",), "thread", STEP),
    ForbiddenCalls("concurrent.futures.ProcessPoolExecutor", ("submit",), "process", STEP),
)
"""What a worker guards, in the order in which it puts the guards in place."""
