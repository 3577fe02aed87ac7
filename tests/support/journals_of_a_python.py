"""Records the journals of all workflows under the Python that runs it, or replays those of another. Run as a program.

`record PATH` writes them, `replay PATH` reads them and fails with what does not fit.
"""

import pickle
import re
import sys
from pathlib import Path

from holdfast.journal import Entry
from tests.support import workflows_to_replay as flows
from tests.support.workflow_driver import Driver, entry_of, instance_of

SEEDS = range(6)
Journals = dict[str, list[list[Entry]]]
_OBSERVED = ("RunStarted", "StepCompleted", "StepFailed", "MailConsumed")


def recorded_journals() -> Journals:
    """By the name of the workflow, one for each seed."""
    return {function.__name__: [_recorded(function, seed) for seed in SEEDS] for function in flows.ALL}


def _recorded(function: flows.Flow, seed: int) -> list[Entry]:
    return Driver(function, seed=seed, mail=flows.mail_for(function), children={"child": flows.child}).run().journal


def texts_of(journals: Journals) -> dict[str, str]:
    """Each workflow's journals as text, without tracebacks, which every Python writes in its own way."""
    return {name: re.sub(r"traceback=.*?, cut=", "cut=", repr(found), flags=re.S) for name, found in journals.items()}


def replay_all(journals: Journals) -> int:
    """Replays each journal, and from every place of it asks for the same decisions. Returns how many workflows."""
    functions = {function.__name__: function for function in flows.ALL}
    for name, recorded in journals.items():
        for journal in recorded:
            instance = instance_of(functions[name])
            for place, entry in enumerate(journal):
                try:
                    instance.feed(entry)
                except Exception as error:
                    raise AssertionError(f"{name}, entry {place + 1}: {error}") from error
            instance.check_replayed()
            assert instance.take_commands() == [], name
            instance.close()
            _decide_again(functions[name], journal)
    return len(journals)


def _decide_again(function: flows.Flow, journal: list[Entry]) -> None:
    instance, expected = instance_of(function), [one for one in journal if type(one).__name__ not in _OBSERVED]
    decided: list[Entry] = []
    for entry in journal:
        if type(entry).__name__ in _OBSERVED:
            instance.feed(entry)
            decided += [entry_of(command, entry.at) for command in instance.take_commands()]
    instance.close()
    assert [type(one) for one in decided] == [type(one) for one in expected], function.__name__
    assert decided[:-1] == expected[:-1], function.__name__


if __name__ == "__main__":
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "record":
        path.write_bytes(pickle.dumps(recorded_journals()))
    else:
        print(f"replayed {replay_all(pickle.loads(path.read_bytes()))} workflows")
