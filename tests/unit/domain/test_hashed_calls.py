"""When two starts are the same call, however they were written."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_coordinator.domain.hashed_calls import (
    DIGEST_BYTES_MAX,
    HashedCall,
    call_of,
    difference,
    signature_digest,
    started_with,
)

HASHES = st.binary(min_size=32, max_size=32)


def content(text: str) -> bytes:
    return sha256(text.encode()).digest()


def call(*positional: str, **named: str) -> bytes:
    return HashedCall(tuple(map(content, positional)), {name: content(value) for name, value in named.items()}).digest()


def parameter(name: str, kind: str = "either", default: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "kind": kind, "required": default is None}
    return made if default is None else {**made, "default": content(default).hex()}


CLOSED = {"extra_positional": False, "extra_named": False}
FLOW = {"parameters": [parameter("n"), parameter("currency", default='"EUR"')], **CLOSED}
OLDER = {"parameters": [parameter("n")], **CLOSED}


@given(st.lists(HASHES, max_size=5), st.dictionaries(st.text(max_size=8), HASHES, max_size=5))
def test_a_digest_is_read_back_as_its_call(positional: list[bytes], named: dict[str, bytes]) -> None:
    made = HashedCall(tuple(positional), named)
    assert call_of(made.digest()) == made


@pytest.mark.parametrize(
    ("one", "other", "signatures", "said"),
    [
        (call("1"), call("1"), [], ""),
        (call("1"), call(n="1"), [], "other arguments"),
        (call("1"), call(n="1"), [FLOW], ""),
        (call("1"), call("1", '"EUR"'), [FLOW], ""),
        (call("1", currency='"EUR"'), call(n="1"), [FLOW], ""),
        (call("1"), call("1", '"USD"'), [FLOW], "another 'currency'"),
        (call("2"), call("1"), [FLOW], "another 'n'"),
        (call("2", '"USD"'), call("1"), [FLOW], "another 'n' and another 'currency'"),
        (call("1"), call("1", '"EUR"'), [OLDER, FLOW], ""),
        (call("1", "2", "3"), call("1"), [FLOW], "other arguments"),
    ],
)
def test_calls_are_equal_as_they_were_sent_or_as_a_signature_binds_them(
    one: bytes, other: bytes, signatures: list[dict[str, Any]], said: str
) -> None:
    assert difference(one, other, signatures) == said
    assert (difference(other, one, signatures) == "") == (said == "")


NEWER = {"parameters": [parameter("n"), parameter("currency", default='"USD"')], **CLOSED}
LATER = {"parameters": [parameter("n"), parameter("currency", default='"USD"'), parameter("to", default="1")], **CLOSED}


@pytest.mark.parametrize(
    ("asked", "held_signature", "said"),
    [
        (call("1", '"USD"'), FLOW, "another 'currency'"),
        (call("1", '"EUR"'), FLOW, ""),
        (call("1"), FLOW, ""),
        (call(n="1"), FLOW, ""),
        (call("1", to="1"), FLOW, "other arguments"),
        (call("1", '"USD"'), NEWER, ""),
        (call("1", '"EUR"'), NEWER, "another 'currency'"),
        (call("1", '"EUR"'), None, ""),  # it was started before the first worker had come
        (call("1", '"USD"'), None, ""),
        (call("1", '"EUR"'), OLDER, ""),  # too many deploys ago
    ],
)
def test_a_call_is_compared_by_the_signature_that_the_run_was_started_with(
    asked: bytes, held_signature: dict[str, Any] | None, said: str
) -> None:
    """A deploy that changes a default changes nothing of what was started before."""
    known = [LATER, NEWER, FLOW]
    digest = "" if held_signature is None else signature_digest(held_signature)
    assert difference(asked, call("1"), known, digest) == said


def test_a_run_is_started_with_the_newest_signature_that_binds_its_call() -> None:
    assert started_with(call("1"), [NEWER, FLOW]) == signature_digest(NEWER)
    assert started_with(call("1", '"EUR"'), [OLDER, FLOW]) == signature_digest(FLOW)
    assert started_with(call("1"), []) == started_with(call(), [FLOW]) == ""
    long = HashedCall((content("1"),) * DIGEST_BYTES_MAX, {}).digest()
    assert started_with(long, [FLOW]) == ""


def test_a_call_with_very_many_arguments_is_equal_to_itself_only() -> None:
    many = call(*map(str, range(DIGEST_BYTES_MAX // 32 + 1)))
    assert len(many) == 33
    assert call_of(many) is None
    assert difference(many, many, [FLOW]) == ""
    assert difference(many, call("1"), [FLOW]) == "other arguments"
