"""`make bench`: parses options, measures, prints."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Less, without what takes minutes; under two minutes.")
    ] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Profile all processes, in a further round."),
    ] = False,
    case: Annotated[
        list[str] | None,
        typer.Option("--case", help="Only this case, such as B2; may be given many times.", show_default=False),
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", hidden=True, help="Only see whether it works.")] = False,
) -> None:
    """Measure holdfast on this machine, beside what the machine can do at all.

    Brings its own Postgres, coordinator and workers; commits are durable. Each figure is the median of three
    interleaved rounds. What is due is scaled by the speed of the machine.
    """
    # Imported here: --help should not wait for it.
    from holdfast.client.loops import run

    from .apart import APART
    from .cases import CASES
    from .processes import forget_settings
    from .profiles import Profiles
    from .programs import BenchFailed
    from .report import as_json, show
    from .rounds import measure
    from .sizes import FULL, QUICK, SMOKE

    names = [one.name for one in (*CASES, *APART)]
    if unknown := set(case or ()) - set(names):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: the cases are {', '.join(names)}", param_hint="--case")
    left_out = [one.name for one in (*CASES, *APART) if one.is_long and quick and not case]
    wanted = set(case or names).difference(left_out)
    cases = [one for one in CASES if one.name in wanted]
    apart = [one for one in APART if one.name in wanted]
    forget_settings()
    sizes = SMOKE if smoke else QUICK if quick else FULL
    err = Console(stderr=True)
    profiles = Profiles(Path(tempfile.mkdtemp(prefix="holdfast-profile-"))) if profile else None
    with err.status("") as status:
        results = run(measure(cases, apart, sizes, profiles=profiles, say=status.update))
    if as_json_:
        typer.echo(json.dumps(as_json(results)))
    else:
        show(results, Console(), left_out=left_out)
    if profiles is not None:
        for one in cases:
            profiles.show(err if as_json_ else Console(), one.name)
    if results.problems:
        raise BenchFailed("; ".join(f"{name}: {problem}" for name, problem in results.problems.items()))
