"""What a worker can run: collects steps and workflows from what it was given. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from string import Formatter
from typing import Any
from uuid import UUID

from holdfast.authoring.apps import App, check_name_is_free
from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.channel.leases import ParameterRegistration, WorkflowRegistration
from holdfast.codec.values import content_hash
from holdfast.definitions import signatures
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.definitions.signatures import NO_EXTRA, CallSignature
from holdfast.hints.refusals import HopelessHint
from holdfast.hints.type_texts import text_of

_PORTABLE = (str, int, UUID, Decimal)
"""What looks the same in an id whether it is filled in from a Python value or from its JSON."""

Given = Any
"""An App, a decorated step or workflow, or the definition of one."""


@dataclass(slots=True)
class Registrations:
    """Steps and workflows by name."""

    workflows: dict[str, WorkflowDefinition] = field(default_factory=dict)
    steps: dict[str, StepDefinition] = field(default_factory=dict)

    @classmethod
    def of(cls, workflows: Iterable[Given], steps: Iterable[Given]) -> "Registrations":
        """Collects them. The steps of an app come along with any of its workflows.

        Raises TypeError for something else, DuplicateName for two functions of one name, and HopelessHint.
        """
        made = cls()
        for given in (*workflows, *steps):
            made._add(given)
        return made

    def _add(self, given: Given) -> None:
        match given:
            case App():
                for workflow in given.workflows.values():
                    self._add_workflow(workflow)
                for step in given.steps.values():
                    self._add_step(step)
            case Workflow():
                self._add_with_app(given.registered)
            case WorkflowDefinition():
                self._add_with_app(given)
            case Step():
                self._add_step(given.definition)
            case StepDefinition():
                self._add_step(given)
            case _:
                raise TypeError(
                    f"a worker takes workflows, steps and apps, not {given!r}; "
                    "decorate the function with @workflow or @step"
                )

    def _add_with_app(self, workflow: WorkflowDefinition) -> None:
        self._add_workflow(workflow)
        for step in workflow.app_steps.values():
            self._add_step(step)

    def _add_workflow(self, workflow: WorkflowDefinition) -> None:
        check_name_is_free("workflow", self.workflows, workflow)
        _check_annotations(f"workflow {workflow.name}", workflow.signature)
        self.workflows[workflow.name] = workflow

    def _add_step(self, step: StepDefinition) -> None:
        check_name_is_free("step", self.steps, step)
        _check_annotations(f"step {step.name}", step.signature)
        self.steps[step.name] = step


def _check_annotations(what: str, signature: CallSignature) -> None:
    # Once more: where it was decorated, the names in its annotations may not all have been there.
    try:
        signature.check_annotations()
    except HopelessHint as error:
        raise HopelessHint(f"{what}: {error}") from None
    # Before the worker is ready: its first run should not wait for what pydantic does once in a process.
    signature.prepare()


def workflow_registration(workflow: WorkflowDefinition) -> WorkflowRegistration:
    """What is registered of a workflow with the coordinator."""
    signature = workflow.signature
    return WorkflowRegistration(
        workflow.name,
        tuple(_parameter(one) for one in signature.parameters),
        extra_positional=signature.extra_positional is not NO_EXTRA,
        extra_named=signature.extra_named is not NO_EXTRA,
        id_template=_portable_template(workflow),
    )


def _parameter(one: signatures.Parameter) -> ParameterRegistration:
    content = b"" if one.required else (content_hash(one.default) or b"")
    return ParameterRegistration(one.name, one.required, one.kind, content, text_of(one.hint))


def _portable_template(workflow: WorkflowDefinition) -> str:
    """The id template, where its parts look the same to callers that have none of this code; else ""."""
    by_name = workflow.signature.by_name
    for _, name, form, conversion in Formatter().parse(workflow.id_template):
        if name is None:
            continue
        if form or conversion or name not in by_name or by_name[name].hint not in _PORTABLE:
            return ""
    return workflow.id_template
