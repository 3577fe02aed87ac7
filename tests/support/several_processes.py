"""Tests of one run in several processes, `pytest -n`: which begin first, and which have the machine to themselves.

A test that is marked `alone` compares short times, or the times of two things. It runs while no other test does.
Without `-n` there is nothing to do here.
"""

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files with the longest time limits begin: last, they would run on when all else has ended."""
    if not _is_one_of_several(config):
        return
    limits: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit = float(marker.args[0]) if marker is not None and marker.args else 0.0
        limits[item.path] = max(limits.get(item.path, 0.0), limit)
    items.sort(key=lambda item: -limits[item.path])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that is to be alone waits for the others, and they for it, before their time limits begin."""
    if not _is_one_of_several(item.config):
        return (yield)
    with _turn(item.config.rootpath / ".cache" / "tests", alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Reports go from process to process as UTF-8, which has no lone surrogates; a test may have logged some."""
    return _encodable((yield))


def _encodable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(map(_encodable, value))
        case _:
            return value


def _is_one_of_several(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@contextmanager
def _turn(folder: Path, *, alone: bool) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "door.lock").open("w") as door, (folder / "room.lock").open("w") as room:
        # Who waits for an empty room keeps the door shut: else there would always be somebody in it.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Closing it would not do: a process that the test has forked may still have it open.
            fcntl.flock(room, fcntl.LOCK_UN)
