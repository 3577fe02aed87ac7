"""Finds steps and workflows by the names of their modules: "shop.flows" or "shop.flows:app". Imports user code."""

import importlib
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.authoring.apps import App, check_name_is_free, default_app
from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.errors import HoldfastError


class ModuleNotLoaded(HoldfastError):
    """A module with workflows cannot be imported, or has nothing of the name that was asked for."""

    def __init__(self, target: str, *, reason: str) -> None:
        super().__init__(f"{target} cannot be loaded: {reason}")
        self.target = target
        self.reason = reason


@dataclass(slots=True, frozen=True)
class Discovered:
    """What was found, each name once."""

    steps: tuple[StepDefinition, ...]
    workflows: tuple[WorkflowDefinition, ...]


def discover(targets: Iterable[str]) -> Discovered:
    """Imports each target and collects what is registered.

    "shop.flows": the default app, and every App, step and workflow among the names of the module.
    "shop.flows:billing": that App, step or workflow only.
    Raises ModuleNotLoaded naming the target and the reason, and DuplicateName.
    """
    found = _Collected()
    for target in targets:
        module_name, _, attribute = target.partition(":")
        module = imported(target, module_name)
        if attribute:
            found.add(_attribute_of(module, target, attribute))
        else:
            found.add(default_app)
            for value in list(vars(module).values()):
                if isinstance(value, (App, Step, Workflow)):
                    found.add(value)
    return Discovered(tuple(found.steps.values()), tuple(found.workflows.values()))


class _Collected:
    def __init__(self) -> None:
        self.steps: dict[str, StepDefinition] = {}
        self.workflows: dict[str, WorkflowDefinition] = {}

    def add(self, source: "App | Step[Any, Any] | Workflow[Any, Any]") -> None:
        match source:
            case App():
                for step in source.steps.values():
                    self._add_step(step)
                for workflow in source.workflows.values():
                    self._add_workflow(workflow)
            case Step():
                self._add_step(source.definition)
            case Workflow():
                self._add_workflow(source.registered)

    def _add_step(self, step: StepDefinition) -> None:
        check_name_is_free("step", self.steps, step)
        self.steps[step.name] = step

    def _add_workflow(self, workflow: WorkflowDefinition) -> None:
        check_name_is_free("workflow", self.workflows, workflow)
        self.workflows[workflow.name] = workflow


def imported(target: str, module_name: str) -> ModuleType:
    """The module. target: what the user gave, for errors. Raises ModuleNotLoaded with the reason."""
    if module_name.endswith(".py") or "/" in module_name:
        raise ModuleNotLoaded(target, reason=f"it is a path; give the module: {_as_module(target, module_name)!r}")
    if not module_name or not all(part.isidentifier() for part in module_name.split(".")):
        raise ModuleNotLoaded(target, reason='give a module as "shop.flows" or "shop.flows:app"')
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModuleNotLoaded(target, reason=_why_missing(module_name, error)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}{_place_of(error)}"
        raise ModuleNotLoaded(target, reason=reason) from error


def _as_module(target: str, path: str) -> str:
    """What a path was meant to name: "./shop/flows.py:app" -> "shop.flows:app"."""
    parts = [part for part in Path(path).with_suffix("").parts if part not in (".", "/")]
    return ".".join(parts) + target.removeprefix(path)


def _place_of(error: Exception) -> str:
    """Where user code raised it: the last frame that is neither ours nor the import machinery's."""
    ours = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((ours, "<")) and frame.filename != importlib.__file__:
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def _why_missing(module_name: str, error: ModuleNotFoundError) -> str:
    missing = error.name or ""
    if module_name == missing or module_name.startswith(f"{missing}."):
        return f"there is no module {missing!r} on the import path; run from the directory that holds it"
    return f"it imports {missing!r}, which is not installed"


def _attribute_of(module: ModuleType, target: str, attribute: str) -> "App | Step[Any, Any] | Workflow[Any, Any]":
    value = getattr(module, attribute, None)
    if isinstance(value, (App, Step, Workflow)):
        return value
    if value is not None:
        raise ModuleNotLoaded(target, reason=f"{attribute} is a {type(value).__name__}, not an App, step or workflow")
    known = [name for name, item in vars(module).items() if isinstance(item, (App, Step, Workflow))]
    raise ModuleNotLoaded(target, reason=f"{module.__name__} has no {attribute!r}; it has {', '.join(known) or 'none'}")
