"""What a step and a workflow are, once decorated: names, options, signatures. Plain data, no behaviour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from holdfast.backoff import Backoff
from holdfast.definitions.signatures import CallSignature

PlacementChoice = Literal["auto", "inline", "queued"]
RetryOn = tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(slots=True, frozen=True)
class StepOptions:
    """How a step is run. `timeout` is per attempt; `recoveries=None` repeats lost attempts without limit."""

    retries: int
    backoff: Backoff | Callable[[int], float]
    recoveries: int | None = 3
    timeout: timedelta | None = None
    queue: str = ""
    placement: PlacementChoice = "auto"
    priority: int = 0
    retry_on: RetryOn = (Exception,)
    heartbeat_timeout: timedelta | None = None


@dataclass(slots=True, frozen=True, eq=False)
class StepDefinition:
    """A registered step. `function` is what the user wrote; plain functions run in a thread."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: CallSignature
    options: StepOptions
    app: str = "default"


@dataclass(slots=True, frozen=True, eq=False)
class WorkflowDefinition:
    """A registered workflow. `id_template` uses the arguments, for example "order-{order_id}".

    app_steps: the steps of its app by name, also those that are defined later. is_blocking: its function is plain `def`
    code, which waits without `await`.
    """

    name: str
    function: Callable[..., Any]
    signature: CallSignature
    id_template: str = ""
    max_duration: timedelta | None = None
    queue: str = ""
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    app: str = "default"
    app_steps: Mapping[str, StepDefinition] = field(default_factory=dict, repr=False)
    is_blocking: bool = False


@dataclass(slots=True, frozen=True)
class StepOverrides:
    """What one call says with `with_options`; None means: as defined. independent: see StepScheduled."""

    step_id: str = ""
    retries: int | None = None
    backoff: Backoff | Callable[[int], float] | None = None
    recoveries: int | None = None
    recoveries_given: bool = False
    timeout: timedelta | None = None
    timeout_given: bool = False
    queue: str | None = None
    placement: PlacementChoice | None = None
    priority: int | None = None
    retry_on: RetryOn | None = None
    independent: bool = False
