"""`Environment`: runs inside a test whose time, signals, steps and crashes the test decides."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, ParamSpec, Self, TypeVar

from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.codec import Codec
from holdfast.codec.failures import as_run_failed
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.durations import Duration, parse_duration
from holdfast.errors import RunConflict
from holdfast.journal import Arguments, CancelRequested, Entry, Failure, Signal
from holdfast.statuses import RunStatus
from holdfast.testing.crashes import CrashPoints, Moment
from holdfast.testing.local import RunNotFinished
from holdfast.testing.local_engine import NO_DEPS, EngineRun, LocalEngine
from holdfast.testing.overrides import Overrides, name_of_step
from holdfast.testing.replays import assert_replays
from holdfast.worker.guards import Guards
from holdfast.workflow.current_run import RunInfo

_P = ParamSpec("_P")
_T = TypeVar("_T")


class EnvironmentRun(Generic[_T]):
    """A run of an `Environment`, as it stands now. Get one from `start`, or a child's from `children`.

    Of a run that continues as new all of it is of the last run.
    """

    def __init__(self, environment: "Environment", run: EngineRun) -> None:
        self._environment = environment
        self._run = run

    @property
    def _current(self) -> EngineRun:
        return self._run.newest

    @property
    def run_id(self) -> str:
        """The generated id."""
        return self._current.run_id

    @property
    def id(self) -> str | None:
        """The business id; None when it has none."""
        return self._current.info.id or None

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        return self._current.definition.name

    @property
    def status(self) -> RunStatus:
        """RUNNING while a step runs, SUSPENDED while it waits for something else, or how it ended."""
        if self._current.closed is not None:
            return self._current.closed.status
        return RunStatus.RUNNING if self._current.is_running_steps else RunStatus.SUSPENDED

    @property
    def waits(self) -> tuple[str, ...]:
        """What an open run waits for, in words: "signal approval", "timer 1"."""
        return () if self._current.closed is not None else tuple(self._current.waits)

    @property
    def history(self) -> tuple[Entry, ...]:
        """Its journal so far."""
        return tuple(self._current.history)

    @property
    def arguments(self) -> Arguments:
        """What it was started with, still encoded."""
        return self._current.arguments

    @property
    def info(self) -> RunInfo:
        """What its code can read of it."""
        return self._current.info

    @property
    def definition(self) -> WorkflowDefinition:
        """Its workflow, as it is registered."""
        return self._current.definition

    @property
    def failure(self) -> Failure | None:
        """Why it did not complete."""
        return None if self._current.closed is None else self._current.closed.failure

    @property
    def children(self) -> "tuple[EnvironmentRun[Any], ...]":
        """Its child runs, in the order of their starts."""
        return tuple(EnvironmentRun(self._environment, child) for child in self._current.children.values())

    async def signal(self, name: str, payload: Any = None) -> None:
        """Sends a signal, and returns when all has happened that follows at this moment. Ignored by a closed run."""
        codec = self._environment.engine.codec
        body = Signal(name, None if payload is None else codec.encode(payload, what=f"the payload of signal {name!r}"))
        self._environment.engine.post_later(self._current, body)
        await self._environment.settle()

    async def cancel(self, reason: str | None = None) -> bool:
        """Asks the run to end; its code may clean up first. False when it is closed already."""
        if self._current.closed is not None:
            return False
        self._environment.engine.post_later(self._current, CancelRequested(reason or ""))
        await self._environment.settle()
        return True

    async def result(self) -> _T:
        """Skips whatever time the run takes, and returns its result.

        Raises RunFailed, RunCancelled or RunTimedOut as a client would, and RunNotFinished when it waits for what never
        comes.
        """
        await self._environment.engine.run_until_idle(self._run)
        return self.value()

    def value(self) -> _T:
        """The result of a closed run. Raises as `result`, and RunNotFinished while it is open."""
        closed = self._current.closed
        if closed is None:
            raise RunNotFinished(self.workflow, self.waits)
        if closed.status is not RunStatus.COMPLETED:
            raise as_run_failed(self.run_id, closed.status, closed.failure)
        if closed.result is None:
            return None  # type: ignore[return-value]
        definition = self._current.definition
        what = f"the result of workflow {definition.name}"
        value: _T = self._environment.engine.codec.decode(closed.result, definition.signature.result, what=what)
        return value

    def __repr__(self) -> str:
        return f"<run {self.run_id} of {self.workflow}: {self.status}>"


class Environment:
    """Where a test runs workflows: in its process, with the real steps or replaced ones, on a clock of the test's.

    `async with Environment() as env:`. The clock stands, but for the time that steps take, until `time_skip` or
    `result` moves it. Runs go on inside of the awaits of this and of its runs, each of which returns when no step is
    running and nothing more is due.
    deps: what `Context.deps` gives. guards: "off" lets workflow code call what a replay cannot repeat.
    """

    def __init__(self, *, deps: Any = NO_DEPS, guards: Guards = "on") -> None:
        self._deps = deps
        self._guards: Guards = guards
        self._overrides = Overrides()
        self._crash_points = CrashPoints()
        self._engine: LocalEngine | None = None

    @property
    def engine(self) -> LocalEngine:
        """What drives the runs. Raises RuntimeError outside of the block."""
        if self._engine is None:
            raise RuntimeError("an Environment works inside of `async with Environment() as env:`")
        return self._engine

    async def __aenter__(self) -> Self:
        self._engine = await LocalEngine(
            codec=Codec(),
            deps=self._deps,
            guards=self._guards,
            overrides=self._overrides,
            crash_points=self._crash_points,
        ).__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.engine.__aexit__()
        self._engine = None
        if kind is None and self._crash_points.unmet:
            raise AssertionError(f"crash_at: no run came to {', '.join(self._crash_points.unmet)}")

    def now(self) -> datetime:
        """What the clock shows, in UTC."""
        return self.engine.now()

    def override(self, steps: Mapping[Any, Any] | None = None, /, **named: Any) -> None:
        """Runs something else in the place of steps, from their next attempts on, in children too.

        `override(charge="receipt 1")` gives a value, `override(charge=fake)` calls a function, plain or async, with the
        arguments of the step, and with its context when it has a parameter annotated so; an exception is raised.
        steps: the same by the steps themselves, or by names that are no Python names: {charge: ..., "etl.load": ...}.
        Raises NoSuchStep for a name that no step has; nothing is replaced then.
        """
        given = {name_of_step("override", step): value for step, value in {**(steps or {}), **named}.items()}
        for name, value in given.items():
            self._overrides.set(name, value)

    def crash_at(self, step: Step[..., Any] | str | int, *, moment: Moment = "after") -> None:
        """Crashes the worker once, when a run comes to this step: all code is lost, and replayed from the journal.

        step: itself, its name, or its number, counted from 1 in the order of the calls of a run. moment: "after" its
        function has run to the end, of which nothing is recorded yet, "before" it is called; the attempt is lost, and
        the next one follows. A place that no run comes to is an AssertionError at the end of the block.
        """
        if moment not in ("before", "after"):
            raise ValueError(f'crash_at: moment is "before" or "after", not {moment!r}')
        if isinstance(step, int):
            if step < 1:
                raise ValueError(f"crash_at: steps count from 1, not from {step}")
            self._crash_points.add(step, moment)
        else:
            self._crash_points.add(name_of_step("crash_at", step), moment)

    async def crash(self) -> None:
        """Crashes the worker now: attempts that run are lost, and all code is replayed from the journals.

        Raises NonDeterminism when the code does not do again what it did.
        """
        self.engine.crash()
        await self.settle()

    async def start(self, workflow: Workflow[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> EnvironmentRun[_T]:
        """Starts a run, and returns when it waits for something else than steps, or has ended.

        A business id that a run has already gives that run. Raises RunConflict when it has other arguments, and
        ArgumentsRejected or PayloadNotSerializable when these cannot start a run.
        """
        if not isinstance(workflow, Workflow):
            raise TypeError(f"start takes a workflow, not {workflow!r}; decorate the function with @workflow")
        run = self.engine.start(workflow.definition, args, kwargs)
        found = self._of_id(run)
        await self.settle()
        return EnvironmentRun(self, found)

    async def settle(self) -> None:
        """Returns when no step is running and nothing is due at this moment."""
        await self.engine.run_until_idle(None, self.now())

    async def time_skip(self, span: Duration | datetime) -> None:
        """Moves the clock by a span, or to an instant, and stops it there; what is due until then happens in order.

        Raises ValueError for an instant that is past.
        """
        await self.settle()
        if isinstance(span, datetime):
            until = span if span.tzinfo is not None else span.replace(tzinfo=UTC)
            if until < self.now():
                raise ValueError(f"time_skip: {until.isoformat()} is past; the clock shows {self.now().isoformat()}")
        else:
            until = self.now() + parse_duration(span)
        await self.engine.run_until_idle(None, until)

    @property
    def runs(self) -> tuple[EnvironmentRun[Any], ...]:
        """All runs, children too, in the order of their starts; of those that continue as new the last ones."""
        return tuple(EnvironmentRun(self, run) for run in self.engine.runs if run.newest is run)

    def assert_replays(self, history: Any, workflow: Workflow[..., Any] | None = None) -> None:
        """See `holdfast.testing.assert_replays`."""
        assert_replays(history, workflow)

    def _of_id(self, run: EngineRun) -> EngineRun:
        """The run that this start means: an earlier one with its id, which then stays the only one."""
        id = run.info.id
        earlier = next((one for one in self.engine.runs if one is not run and id and one.info.id == id), None)
        if earlier is None:
            return run
        self.engine.forget(run)
        if earlier.definition.name != run.definition.name:
            raise RunConflict(f"id {id!r}", earlier.run_id, difference=f"workflow {earlier.definition.name}")
        if earlier.arguments != run.arguments:
            raise RunConflict(f"id {id!r}", earlier.run_id, difference="other arguments")
        return earlier
