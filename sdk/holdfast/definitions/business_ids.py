"""The business ids that a workflow's template makes of the arguments of a start. Pure."""

from string import Formatter
from typing import Any

from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.ids import business_id_problem


def business_id(definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The business id that the workflow's template makes of the arguments; "" when it has none.

    Raises ArgumentsRejected when they do not fit, ValueError when they make no valid id.
    """
    if not definition.id_template:
        return ""
    what = f"workflow {definition.name}"
    bound = definition.signature.bound_by_name(args, kwargs, target=what)
    made = definition.id_template.format_map(bound)
    if problem := business_id_problem(made):
        raise ValueError(f"{what}: the id {made!r}, made by the template {definition.id_template!r}, {problem}")
    return made


def checked_id_template(what: str, template: str, signature: CallSignature) -> str:
    """The template, when each of its names is a parameter. Raises ValueError naming one that is not."""
    if not isinstance(template, str):
        raise TypeError(f"{what}: id is a template such as 'order-{{order_id}}', not {type(template).__name__}")
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"{what}: id template {template!r}: {error}") from None
    if not template:
        raise ValueError(f"{what}: id is empty; leave it out for runs without a business id")
    if not fields and (problem := business_id_problem(template)):
        raise ValueError(f"{what}: id {template!r} {problem}")
    for field in fields:
        name = field.partition(".")[0].partition("[")[0]
        if name not in signature.by_name:
            known = ", ".join(signature.by_name) or "none"
            raise ValueError(
                f"{what}: id template {template!r} uses {name!r}, which is not a parameter (parameters: {known})"
            )
    return template
