"""`holdfast.span`: a part of workflow code that is to be seen in the trace of its run."""

from types import TracebackType
from typing import Self

from holdfast.workflow.current_run import EnteredSpan, runtime_here


class span:
    """Shows a part of workflow code as a span: `with holdfast.span("checkout"):`, also with `async with`.

    It may contain anything, also steps and sleeps of days; its times are those of the journal, and whatever crashes,
    it is exported once. An error that leaves it is shown. Spans nest, each task with its own. A run that is terminated
    or times out loses those that are open. Outside a run, inside a step too, it does nothing.
    name: at most 200 characters, what is longer is cut.
    """

    __slots__ = ("_entered", "_name")

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a span is a text of at least one character, not {name!r}")
        self._name = name
        self._entered: EnteredSpan | None = None

    def __enter__(self) -> Self:
        runtime = runtime_here()
        if runtime is not None:
            if self._entered is not None:
                raise RuntimeError(f"span {self._name!r} is entered already; make one for each `with`")
            self._entered = runtime.enter_span(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.leave(kind)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
