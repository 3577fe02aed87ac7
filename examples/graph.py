"""Release notes as a graph: two tasks share what a third has fetched, and a fourth joins them.

holdfast graph examples.graph:notes
holdfast dev examples.graph
holdfast run release-notes --input '["v2"]'
"""

from typing import Any

from holdfast import Graph

CHANGES = {"v2": ["feature: graphs", "fix: a late heartbeat", "fix: a typo"]}

notes = Graph("release-notes", inputs={"version": str}, max_parallel=2)


@notes.task(retries=3, timeout="30s")
async def changes(version: str) -> list[str]:
    """Here you would ask your version control."""
    return CHANGES[version]


@notes.task
def features(changes: list[str]) -> list[str]:
    return [line.removeprefix("feature: ") for line in changes if line.startswith("feature: ")]


@notes.task
def fixes(changes: list[str]) -> int:
    return sum(line.startswith("fix: ") for line in changes)


@notes.task(deps=[features, fixes])
def publish(upstream: dict[str, Any], version: str) -> str:
    return f"{version}: {', '.join(upstream['features'])}, and {upstream['fixes']} fixes"
