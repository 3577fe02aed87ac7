"""A script without asyncio around its runs. Kill it at any moment and start it again: it goes on."""

from holdfast import blocking
from holdfast.blocking import step, workflow


@step
def extract(day: str) -> list[int]:
    return [1, 2, 3]


@step(retries=2, timeout="1m")
def load(rows: list[int]) -> int:
    return len(rows)


@workflow(id="load-{day}")
def load_day(day: str) -> int:
    return load(extract(day))


def main() -> None:
    with blocking.embedded("./data"):
        print(load_day("2026-12-01"))


if __name__ == "__main__":
    main()
