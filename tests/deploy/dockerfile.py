"""Reads a Dockerfile: its stages and their instructions. Knows the forms that deploy/Dockerfile uses, and no others."""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Self

from .chart import DEPLOY

_WORDS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "CMD", "ADD"}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. text: what follows the word, in one line."""

    word: str
    text: str

    @property
    def command(self) -> list[str]:
        """The exec form, `["a", "b"]`, wherever it is in the text."""
        command: list[str] = json.loads(self.text[self.text.index("[") :])
        return command

    @property
    def operands(self) -> list[str]:
        """The words of the text that are no options."""
        return [word for word in shlex.split(self.text) if not word.startswith("--")]

    def option(self, name: str) -> str | None:
        """The value of `--name=value`."""
        found = re.search(rf"--{name}=(\S+)", self.text)
        return found[1] if found else None


@dataclass(slots=True)
class Stage:
    """One stage; `parent` is the stage that it begins with, None when it begins with an image of others."""

    name: str
    base: str
    parent: Self | None
    own: list[Instruction] = field(default_factory=list)

    @property
    def all(self) -> list[Instruction]:
        """Its instructions after those of the stages it begins with."""
        return [*(self.parent.all if self.parent else ()), *self.own]

    def those(self, word: str) -> list[Instruction]:
        """All instructions with this word."""
        return [one for one in self.all if one.word == word]

    def last(self, word: str) -> Instruction:
        """The instruction that counts, where only the last one does."""
        return self.those(word)[-1]


def read_stages() -> dict[str, Stage]:
    """The stages of deploy/Dockerfile, by name, in order."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line.strip():
            continue
        word, _, rest = line.partition(" ")
        assert word in _WORDS, f"{word} is no instruction that this reader knows"
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            base = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], base)
            stages[name] = Stage(name, base, stages.get(base))
        elif word == "ARG" and not stages:
            name, _, default = rest.partition("=")
            arguments[name] = default
        else:
            list(stages.values())[-1].own.append(Instruction(word, rest.strip()))
    return stages
