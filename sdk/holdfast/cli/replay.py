"""`holdfast replay`: stored histories against the code of today."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.options import (
    GUARDS_HELP,
    AddressOption,
    CodecsOption,
    GuardsChoice,
    NamespaceOption,
    Output,
    OutputOption,
    note,
    with_client,
)
from holdfast.errors import HoldfastError
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.definitions.definitions import WorkflowDefinition
    from holdfast.replay.replaying import HistoryReplay, ReplayMismatch
    from holdfast.replay.stored import StoredRun

_PAGE_MAX = 1_000

TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN|FILE... MODULE",
        help="Run ids, business ids, and files that `runs history --output json` wrote, or folders of them; the last "
        'is the module with the workflows, as in "shop.flows".',
        show_default=False,
    ),
]


def replay(
    targets: TargetsArgument = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--module", "-m", help="A module with workflows; repeatable. Then no target is one."),
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option("--workflow", "-w", help="The newest runs of this workflow, from the coordinator."),
    ] = None,
    status: Annotated[
        list[RunStatus] | None,
        typer.Option("--status", "-s", metavar="STATUS", help="With --workflow, only in this state; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, help="With --workflow, how many runs at most.")] = 50,
    pdb: Annotated[bool, typer.Option("--pdb", help="Stop in a debugger where the code differs, or at --at.")] = False,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="ENTRY", min=1, help="With --pdb: stop after this entry.", show_default=False),
    ] = None,
    guards: Annotated[
        GuardsChoice, typer.Option("--guards", envvar="HOLDFAST_GUARDS", case_sensitive=False, help=GUARDS_HELP)
    ] = GuardsChoice.ON,
    codecs: CodecsOption = None,
    address: AddressOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay stored runs with the code of today, without running a step, and say where the two part.

    Exit code 1 when the code of one of them differs, or cannot be read.
    """
    from holdfast.cli.worker import load_modules

    runs, targets_of_code = _sorted_out(targets or [], modules or [], workflow)
    if at is not None and not pdb:
        raise typer.BadParameter("says where --pdb stops; give that too", param_hint="--at")
    if at is not None and (workflow is not None or len(runs) != 1):
        raise typer.BadParameter("takes exactly one run or file", param_hint="--at")
    if status and workflow is None:
        raise typer.BadParameter("chooses among the runs of --workflow; give that too", param_hint="--status")
    defined = {one.name: one for one in load_modules(targets_of_code).workflows}
    checked = _Check(defined, codecs=codecs, guards=guards.value, pdb=pdb, at=at, output=output)
    files = [one for one in runs if _is_file(one)]
    for stored in _of_files(files, codecs):
        checked.take(stored)
    asked = [one for one in runs if one not in files]
    if asked or workflow is not None:

        async def check_all(client: "Client") -> None:
            async for stored in _of_coordinator(client, namespace, asked, workflow, status or [], limit):
                checked.take(stored)

        with_client(address, namespace, check_all, codecs=codecs)
    checked.finish()


def _sorted_out(targets: list[str], modules: list[str], workflow: str | None) -> tuple[list[str], list[str]]:
    """What to replay, and the modules with its code."""
    from holdfast.cli.project_file import modules_of_project
    from holdfast.cli.worker import modules_of_environment

    runs = targets
    if not modules and workflow is not None:
        runs, modules = [], targets
    elif not modules and len(targets) > 1:
        runs, modules = targets[:-1], targets[-1:]
    if not runs and workflow is None:
        raise typer.BadParameter("name a run or a file, or give --workflow", param_hint="RUN|FILE")
    return runs, modules or modules_of_environment() or modules_of_project(Path.cwd())


def _is_file(target: str) -> bool:
    return target.endswith(".json") or os.sep in target or Path(target).exists()


def _of_files(targets: list[str], codecs: str | None) -> "Iterator[StoredRun]":
    from holdfast.cli.codecs_option import load_codecs
    from holdfast.codecs import CodecChain
    from holdfast.replay.files import HistoryUnreadable, read_histories

    chain = CodecChain(load_codecs(codecs))
    for target in targets:
        path = Path(target)
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise HistoryUnreadable(path, reason="it is a folder without *.json")
        for file in files:
            for stored in read_histories(file):
                yield chain.decoded(stored)


async def _of_coordinator(
    client: "Client", namespace: str, asked: list[str], workflow: str | None, status: list[RunStatus] | None, limit: int
) -> "AsyncIterator[StoredRun]":
    from holdfast.replay.stored import stored_run

    for run in asked:
        yield await stored_run(client.get(run), namespace=namespace)
    cursor = None
    while workflow is not None and limit > 0:
        page = await client.list(workflow=workflow, status=status or None, limit=min(limit, _PAGE_MAX), cursor=cursor)
        for described in page:
            yield await stored_run(client.get(described.run_id), namespace=namespace)
        limit -= len(page)
        cursor = page.next_cursor
        if cursor is None:
            return


class _Check:
    """Replays one run after another and prints what comes of each."""

    def __init__(
        self,
        defined: "dict[str, WorkflowDefinition]",
        *,
        codecs: str | None,
        guards: Any,
        pdb: bool,
        at: int | None,
        output: Output,
    ) -> None:
        from holdfast.cli.codecs_option import load_codecs
        from holdfast.client.value_codecs import value_codec
        from holdfast.codecs import CodecChain

        self._defined = defined
        self._codec = value_codec(CodecChain(load_codecs(codecs)))
        self._guards = guards
        self._pdb = pdb
        self._at = at
        self._output = output
        self._found: list[dict[str, Any]] = []

    def take(self, stored: "StoredRun") -> None:
        """Replays one run."""
        from holdfast.graphs.problems import nearest
        from holdfast.replay.replaying import HistoryReplay, ReplayMismatch

        name, length = stored.info.workflow, len(stored.entries)
        if self._at is not None and self._at > length:
            raise typer.BadParameter(f"run {stored.info.run_id} has {length} entries", param_hint="--at")
        definition = self._defined.get(name)
        if definition is None:
            self._say(stored, f"no workflow {name!r} is defined in the modules.{nearest(name, self._defined)}")
            return
        with HistoryReplay(stored, definition, codec=self._codec, guards=self._guards) as replayed:
            try:
                if self._pdb and self._at is not None:
                    replayed.feed(self._at)
                    _debug(replayed, f"after entry {replayed.fed} of {length}")
                else:
                    replayed.feed()
            except ReplayMismatch as mismatch:
                self._say(stored, str(mismatch), mismatch)
                if self._pdb:
                    _debug(replayed, f"where it differs, at entry {mismatch.entry}", mismatch)
            else:
                self._say(stored)

    def finish(self) -> None:
        """Says how many there were; ends the program with exit code 1 where one was not replayed."""
        if self._output is Output.JSON:
            typer.echo(json.dumps(self._found, ensure_ascii=False, indent=2))
        bad = sum(not one["replays"] for one in self._found)
        if not self._found:
            raise HoldfastError("there is no such run")
        note(f"{_counted(len(self._found))} replayed, {bad or 'none'} with a difference")
        if bad:
            raise typer.Exit(1)

    def _say(self, stored: "StoredRun", reason: str = "", mismatch: "ReplayMismatch | None" = None) -> None:
        source = stored.source or stored.info.run_id
        self._found.append(
            {
                "run_id": stored.info.run_id,
                "workflow": stored.info.workflow,
                "source": stored.source or None,
                "entries": len(stored.entries),
                "replays": not reason,
                "reason": reason or None,
                "entry": mismatch.entry if mismatch else None,
                "expected": (mismatch.expected or None) if mismatch else None,
                "actual": (mismatch.actual or None) if mismatch else None,
                "place": (mismatch.place or None) if mismatch else None,
            }
        )
        if self._output is Output.JSON:
            return
        if not reason:
            typer.echo(f"{source}: {stored.info.workflow} replays, {len(stored.entries)} entries")
        elif mismatch is not None and mismatch.expected:
            typer.echo(f"{source}: {stored.info.workflow} differs at entry {mismatch.entry}")
            typer.echo(f"  the journal has  {mismatch.expected}")
            typer.echo(f"  the code         {mismatch.actual}")
            typer.echo(f"  at               {mismatch.place or 'no line that is known'}")
        else:
            typer.echo(f"{source}: {reason}")


def _debug(replayed: "HistoryReplay", where: str, mismatch: "ReplayMismatch | None" = None) -> None:
    from holdfast.replay.debugger import debug

    debug(replayed, where, None if mismatch is None else mismatch.code_place)


def _counted(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"
