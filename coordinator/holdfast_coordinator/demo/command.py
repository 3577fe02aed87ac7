"""The command `holdfast demo`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import HoldfastError


def demo(
    path: Annotated[
        list[Path] | None,
        typer.Option(
            "--path", exists=True, file_okay=False, resolve_path=True,
            help="Audit only what is installed in this directory; may be given many times.", show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many distributions to audit at most.", show_default=False)
    ] = None,
    otlp: Annotated[
        str | None,
        typer.Option(
            "--otlp", metavar="URL", show_default=False,
            help="Export the trace of the audit there by OTLP/gRPC, http://localhost:4317 for example.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Audit this machine's Python packages, durably, with a worker killed half-way."""
    # Imported here: the other commands should not wait for it.
    from rich.console import Console

    from holdfast.client.loops import run

    from ..logs import configure_logs
    from . import direct, report
    from .announcer import announcing
    from .driver import drive
    from .places import metadata_paths, site_directories

    directories = list(path or site_directories())
    if not any(map(metadata_paths, directories)):
        raise HoldfastError(f"no Python distribution is installed in {', '.join(map(str, directories)) or 'sight'}")
    console = Console()
    configure_logs(level="error", json=False)
    try:
        with announcing(console) as announcer:
            outcome = run(drive(directories, limit, announcer, otlp=otlp))
        console.print("computing the same directly")
        began = time.monotonic()
        expected = direct.totals(directories, limit)
    except KeyboardInterrupt:
        console.print("interrupted; everything that the demo started has ended")
        raise typer.Exit(130) from None
    if found := report.differences(outcome.findings, expected):
        report.print_differences(console, found)
        raise typer.Exit(1)
    report.print_report(console, outcome, direct_seconds=time.monotonic() - began)
