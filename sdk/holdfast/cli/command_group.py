"""A group of commands whose help has the first sentence of every command, whole: click would cut it."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1_000
"""Characters, more than any first sentence has."""


class CommandGroup(TyperGroup):
    """Lists its commands with their first sentences."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_WHOLE))
                    for name, command in commands
                    if command is not None and not command.hidden
                ]
            )
