"""The page about entries and mail: who writes each kind, what it asks for, what it ends, and its fields."""

from collections.abc import Iterator

from .protocol import KINDS, Message, Protocol

PATH = "docs/journal.md"


def text(protocol: Protocol) -> str:
    """The page."""
    lines = [
        f"<!-- Made by `make proto` from journal.proto and {KINDS}: change those, not this page. -->",
        *_INTRODUCTION,
        "| entry | what happened | written by | asks the coordinator for | ends | in a replay |",
        "|---|---|---|---|---|---|",
        *(_entry_row(one) for one in protocol.entries),
        "\n## Their fields",
        "\nEach entry also has `at`: when it happened by the writer's estimate of the database's clock, never before",
        "the `at` of the entry before it. Types with a capital letter are messages and enums of the protocol.",
        *(line for one in protocol.entries for line in _fields(one)),
        "\n## Mail\n",
        "Every piece of mail has a `number` in its run, from 1 in arrival order, `arrived_at` by the database's clock,",
        "and `trace`, where its sender was, if that was traced. It says one of these:",
        *(line for one in protocol.mail for line in _fields(one)),
        "\n## Attempts",
        *_fields(protocol.attempt),
    ]
    return "\n".join(lines) + "\n"


_INTRODUCTION = """
# The journal, kind by kind

The journal of a run is the list of what its code observed and decided: numbered from 1, without gaps, never changed.
The holder of the run's lease writes it, or the coordinator under the lock of the run. What an entry *asks for* is done
in the transaction that stores it. What it *ends* needs no further entry, and with a run all ends that is open in it.
A step that starts at once has no `AttemptStarted` of its first attempt; the end of a step is that of its last attempt.

[ARCHITECTURE](ARCHITECTURE.md) says how entries come about, [protocol](protocol.md) what a worker in another language
owes, [`journal.proto`](../proto/holdfast/api/v1/journal.proto) has the numbers of the fields.

## Entries

""".removesuffix("\n").split("\n")


def _entry_row(entry: Message) -> str:
    row = entry.row
    asks = row.asks.value if row.asks is not None else ""
    if row.asks_when:
        asks += f", if {row.asks_when}"
    ends = sorted(one.value for one in row.ends)
    name = f"[`{entry.name}`](#{entry.name.lower()})"
    happened = entry.words.split(". ")[0].rstrip(".")
    return f"| {name} | {happened} | {_writers(row)} | {asks} | {', '.join(ends)} | {row.replay.value} |"


def _writers(row: object) -> str:
    return " or ".join(flag.name.lower() for flag in row.writer)


def _fields(message: Message) -> Iterator[str]:
    yield f"\n### {message.name}\n\n{message.words}"
    yield "\n| field | type | what it says |\n|---|---|---|"
    for field in message.of_message:
        words = field.shape.words
        name = f"list of {words}" if field.is_list else words
        yield f"| `{field.name}` | {name} | {field.words} |"
