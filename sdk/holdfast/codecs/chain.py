"""Codecs in a row, and what of a record they are applied to. Pure but for what a codec does.

The encoding of a payload names each codec that it went through, as "json+zlib+aes-gcm/2026-11". What cannot be decoded
here stays as it is: who reads it gets CodecMissing, and nothing takes it for another value.
"""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Protocol, TypeVar

from holdfast.errors import CodecMissing
from holdfast.journal import Arguments, Failure, Payload
from holdfast.journal.values import PICKLE, AllowedPickle

T = TypeVar("T")

log = logging.getLogger("holdfast.codecs")

FAILURE = "failure"
"""The encoding of what a hidden failure says, before the codecs."""
HIDDEN = "(encoded: a client or worker with the codecs of the run can read it)"
_JSON = "json"


class PayloadCodec(Protocol):
    """One codec. name: what encodings call it, at most 32 of a-z, 0-9 and "-".

    hides: nobody without a secret can read what it encodes; then the texts of failures go through the codecs too.
    blocks: it does I/O, and is called in a thread. One that cannot read all that has its name may have `reads` too, a
    tuple of what it reads: ("aes-gcm/2026-12",).
    """

    name: str
    hides: bool
    blocks: bool

    def encode(self, data: bytes) -> tuple[str, bytes] | None:
        """The encoded bytes, with a text that `decode` gets ("" for none); None leaves them as they are.

        The text has at most 64 of letters, digits, "-", "_" and ".".
        """

    def decode(self, text: str, data: bytes) -> bytes:
        """The bytes again. Raises CodecMissing when it does not have what it needs for that."""


class CodecChain:
    """The codecs of one client or worker, in the order in which they encode."""

    __slots__ = ("_by_name", "_codecs", "_hides", "_pickles", "blocks")

    def __init__(self, codecs: Iterable[Any]) -> None:
        """Raises TypeError for what is no codec, and ValueError for two of one name."""
        given = list(codecs)
        self._pickles = any(getattr(one, "name", "") == PICKLE for one in given)
        self._codecs = [_checked(one) for one in given if getattr(one, "name", "") != PICKLE]
        self._by_name = {one.name: one for one in self._codecs}
        if len(self._by_name) < len(self._codecs):
            raise ValueError(f"codecs: {', '.join(one.name for one in self._codecs)}: give each of them once")
        self._hides = any(one.hides for one in self._codecs)
        self.blocks = any(one.blocks for one in self._codecs)

    @property
    def pickles(self) -> bool:
        """Whether values that JSON does not take are pickled."""
        return self._pickles

    @property
    def reads(self) -> tuple[str, ...]:
        """What of encodings can be read here: "json", the names of codecs, those with keys with the ids of them."""
        of_codecs = [name for one in self._codecs for name in getattr(one, "reads", (one.name,))]
        return (_JSON, *((PICKLE,) if self._pickles else ()), *of_codecs)

    @property
    def bytes_max(self) -> int | None:
        """How large a value may be that goes elsewhere; None: the coordinator's limit holds."""
        return max(
            (size for one in self._codecs if (size := getattr(one, "bytes_max", None)) is not None), default=None
        )

    def __bool__(self) -> bool:
        return bool(self._codecs) or self._pickles

    def encode(self, payload: Payload) -> Payload:
        """The payload as it is sent."""
        data, encoding = payload.data, str(payload.encoding) or _JSON
        for codec in self._codecs:
            made = codec.encode(data)
            if made is not None:
                text, data = made
                encoding = f"{encoding}+{codec.name}/{text}" if text else f"{encoding}+{codec.name}"
        return Payload(data, "" if encoding == _JSON else encoding, payload.content_sha256)

    def decode(self, payload: Payload) -> Payload:
        """The payload as it was before it was sent; as far as the codecs that are here go."""
        data, encoding = payload.data, payload.encoding
        while "+" in encoding:
            rest, _, part = encoding.rpartition("+")
            name, _, text = part.partition("/")
            codec = self._by_name.get(name)
            if codec is None:
                break
            try:
                data = codec.decode(text, data)
            except CodecMissing as error:
                log.warning("%s", error)
                break
            except Exception as error:
                if codec.blocks and isinstance(error, OSError):
                    raise  # its store is away, and may come back
                # Whoever made this value, it holds up only who reads it.
                log.warning("a value that is encoded as %s cannot be decoded: %r", encoding, error)
                break
            encoding = rest
        if encoding == PICKLE and self._pickles:
            encoding = AllowedPickle(PICKLE)
        elif encoding == _JSON:
            encoding = ""
        return Payload(data, encoding, payload.content_sha256)

    def encoded(self, record: T) -> T:
        """A record as it is sent: all its payloads, and its failures where a codec hides."""
        made: T = _mapped(record, self.encode, self._hidden if self._hides else self._readable)
        return made

    def decoded(self, record: T) -> T:
        """A record that came, as it was before it was sent."""
        made: T = _mapped(record, self.decode, self._shown)
        return made

    def _hidden(self, failure: Failure) -> Failure:
        if failure.facts is not None and failure.facts.encoding.startswith(FAILURE):
            return failure  # it could not be decoded here, and goes on as it came
        facts = failure.facts
        kept = None if facts is None else [b64encode(facts.data).decode(), facts.encoding, facts.content_sha256.hex()]
        said = json.dumps([failure.message, failure.traceback, kept]).encode()
        return replace(
            failure,
            message=HIDDEN,
            traceback="",
            facts=self.encode(Payload(said, FAILURE)),
            cause=None if failure.cause is None else self._hidden(failure.cause),
            leaves=tuple(map(self._hidden, failure.leaves)),
        )

    def _readable(self, failure: Failure) -> Failure:
        """As it is: its texts are for people, and its facts are small."""
        return failure

    def _shown(self, failure: Failure) -> Failure:
        found = failure
        if failure.facts is not None:
            facts = self.decode(failure.facts)
            found = replace(failure, facts=facts)
            if facts.encoding == FAILURE:
                found = _told(failure, facts)
        return replace(
            found,
            cause=None if failure.cause is None else self._shown(failure.cause),
            leaves=tuple(map(self._shown, failure.leaves)),
        )


def _told(failure: Failure, said: Payload) -> Failure:
    """The failure with what was hidden of it; as it is where that is nothing that a failure says."""
    try:
        message, traceback, kept = json.loads(said.data)
        facts = None if kept is None else Payload(b64decode(kept[0]), kept[1], bytes.fromhex(kept[2]))
        return replace(failure, message=str(message), traceback=str(traceback), facts=facts)
    except (ValueError, TypeError, IndexError) as error:
        log.warning("what an error says cannot be decoded: %r", error)
        return failure


def _checked(codec: Any) -> PayloadCodec:
    missing = [one for one in ("name", "hides", "blocks", "encode", "decode") if not hasattr(codec, one)]
    if missing or isinstance(codec, type):
        what = f"it has no {missing[0]}" if missing else "it is a class; give an object of it"
        raise TypeError(f"codecs: {codec!r} is no payload codec: {what}")
    found: PayloadCodec = codec
    return found


# Records


def _mapped(value: Any, payload: Any, failure: Any) -> Any:
    """The value with its payloads and failures exchanged, wherever in it they are."""
    kind = value.__class__
    if kind is Payload:
        return payload(value)
    if kind is Failure:
        return failure(value)
    if kind is Arguments:
        return Arguments(
            tuple(map(payload, value.positional)),
            {name: payload(one) for name, one in value.named.items()},
            None if value.context is None else payload(value.context),
        )
    if kind is tuple:
        return tuple([_mapped(one, payload, failure) for one in value])
    if isinstance(value, Mapping):
        return {name: _mapped(one, payload, failure) for name, one in value.items()}
    names = _record_fields(kind)
    if not names:
        return value
    before = [(name, getattr(value, name)) for name in names]
    changes = {name: made for name, one in before if (made := _mapped(one, payload, failure)) is not one}
    return replace(value, **changes) if changes else value


@cache
def _record_fields(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.init) if is_dataclass(kind) else ()
