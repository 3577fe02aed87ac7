"""Payload codecs: what they are applied to, what is refused, what goes over the wire."""

import inspect
import os
import pickle
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.channel.coded_calls import CodedRunCalls, CodedWorkerCalls
from holdfast.channel.leases import Lease, Row, Work
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.worker_calls import WorkerCalls
from holdfast.cli.codecs_option import load_codecs
from holdfast.codec import Codec
from holdfast.codec.failures import capture, rebuild
from holdfast.codecs import AesGcm, CodecChain, Compress, Offload, Pickle
from holdfast.codecs.chain import HIDDEN
from holdfast.errors import CodecMissing, HoldfastError
from holdfast.journal import Failure, Payload
from tests.support import sample_records

pytestmark = pytest.mark.feature("F58")

KEYS = {"a": b"1" * 32, "b": b"2" * 16}
WITHOUT_VALUES = {
    *("move", "close", "open_session", "close_session", "register_signals"),
    *("cancel", "terminate", "retry", "resume", "get_trace", "export_trace"),
}
"""Calls that carry no values of users, so that codecs have nothing to do there."""


@pytest.mark.parametrize(("plain", "coded"), [(RunCalls, CodedRunCalls), (WorkerCalls, CodedWorkerCalls)])
def test_every_call_with_values_goes_through_the_codecs(plain: type, coded: type) -> None:
    calls = {name for name, one in vars(plain).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert calls - vars(coded).keys() <= WITHOUT_VALUES, "a call that is missing sends or reads encoded values as plain"


def chains(tmp_path: Path) -> list[CodecChain]:
    offload = Offload(f"file://{tmp_path}/store", above=10)
    return [
        CodecChain([]),
        CodecChain([Compress(above=0)]),
        CodecChain([AesGcm(KEYS)]),
        CodecChain([Compress(), AesGcm(KEYS, current="a"), offload]),
    ]


def test_whatever_is_encoded_comes_back(tmp_path: Path) -> None:
    for chain in chains(tmp_path):
        for data in (b"null", b'"text"', b"[" + b"1," * 5_000 + b"1]", os.urandom(2_000)):
            payload = Payload(data, content_sha256=b"x" * 32)
            sent = chain.encode(payload)
            assert chain.decode(sent) == payload
            assert sent.content_sha256 == payload.content_sha256


def test_an_encoding_names_each_codec_and_key(tmp_path: Path) -> None:
    sent = [chain.encode(Payload(b"[" + b"1," * 5_000 + b"1]")).encoding for chain in chains(tmp_path)]
    assert sent[:3] == ["", "json+zlib", "json+aes-gcm/b"]
    assert sent[3].startswith("json+zlib+aes-gcm/a+offload/")


@pytest.mark.parametrize(("name", "record"), list(sample_records.all_samples()))
def test_records_keep_all_but_their_values(name: str, record: Any) -> None:
    chain = CodecChain([AesGcm(KEYS)])
    sent = chain.encoded(record)
    assert chain.decoded(sent) == record
    assert repr(sample_records.PAYLOAD.data) not in repr(sent), name


def test_values_are_found_wherever_they_are_in_what_is_sent() -> None:
    lease = Lease("r", 1, "w", 1, rows=(Row(1, 1, ()),), progress={1: Payload(b'"told"')})
    found = CodecChain([AesGcm(KEYS)]).encoded(Work(leases=(lease,)))
    assert found.leases[0].progress[1].encoding == "json+aes-gcm/b"
    assert found.leases[0].rows == lease.rows


def raised() -> Failure:
    try:
        try:
            raise KeyError("told")
        except KeyError as error:
            raise ExceptionGroup("two told", [ValueError("told"), OSError(2, "told", "file")]) from error
    except ExceptionGroup as error:
        return capture(error)


def test_errors_are_hidden_whole_with_their_causes_and_leaves_and_come_back_so() -> None:
    chain, failure = CodecChain([AesGcm(KEYS)]), raised()
    sent = chain.encoded(failure)
    assert "told" not in repr(sent)
    assert (sent.error_type, sent.message, sent.traceback) == (failure.error_type, HIDDEN, "")
    back = chain.decoded(sent)
    assert back == failure
    error = rebuild(back)
    assert isinstance(error, ExceptionGroup)
    assert str(error.exceptions[0]) == "told"
    elsewhere = CodecChain([AesGcm({"c": b"3" * 32})])
    unread = elsewhere.decoded(sent)
    assert unread.message == HIDDEN
    assert rebuild(unread) is not None, "something stands for it"
    assert chain.decoded(elsewhere.encoded(unread)) == failure, "and it can be passed on"


def test_errors_stay_readable_where_nothing_hides() -> None:
    failure = raised()
    assert CodecChain([Compress(above=0)]).encoded(failure) == failure


def test_a_value_that_was_changed_is_never_taken_for_another_one() -> None:
    chain = CodecChain([AesGcm(KEYS)])
    sent = chain.encode(Payload(b"1"))
    forged = replace(sent, data=sent.data[:-1] + bytes([sent.data[-1] ^ 1]))
    renamed = replace(sent, encoding="json+aes-gcm/a")
    for one in (forged, renamed):
        unread = chain.decode(one)
        with pytest.raises(CodecMissing, match="aes-gcm"):
            Codec().decode(unread, int, what="a value")


@pytest.mark.parametrize("encoding", ["json+zlib", "json+zlib+zlib", "json+aes-gcm/b", "json+aes-gcm", "failure+zlib"])
def test_what_no_codec_made_holds_up_only_who_reads_it(encoding: str) -> None:
    chain = CodecChain([Compress(), AesGcm(KEYS)])
    garbage = Payload(b"garbage", encoding)
    with pytest.raises(CodecMissing):
        Codec().decode(chain.decode(garbage), Any, what="a value")
    assert chain.decoded(Failure("E", "text", facts=garbage)).message == "text"


def test_a_small_value_that_grows_without_bounds_is_not_decompressed() -> None:
    bomb = Payload(zlib.compress(b"0" * 5_000_000), "json+zlib")
    assert CodecChain([Compress(bytes_max=1_000_000)]).decode(bomb) == bomb
    assert len(CodecChain([Compress()]).decode(bomb).data) == 5_000_000


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.putenv, ("HOLDFAST_TEST_PICKLED", "yes")


def test_a_pickle_from_outside_is_not_loaded_whatever_its_encoding_says() -> None:
    for encoding in ("pickle", "json+pickle", "AllowedPickle"):
        payload = CodecChain([Compress()]).decode(Payload(pickle.dumps(Evil()), encoding))
        with pytest.raises(CodecMissing):
            Codec(pickles=True).decode(payload, Any, what="a value")


def test_with_the_opt_in_a_pickle_is_read_after_other_codecs_too() -> None:
    chain = CodecChain([AesGcm(KEYS), Pickle()])
    payload = Codec(pickles=True).encode(range(3), what="a value")
    sent = chain.encode(payload)
    assert sent.encoding == "pickle+aes-gcm/b"
    assert type(sent.encoding) is str
    assert Codec(pickles=True).decode(chain.decode(sent), Any, what="a value") == range(3)


def test_what_json_takes_is_not_pickled() -> None:
    assert Codec(pickles=True).encode({"a": [1]}, what="a value").encoding == ""


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: AesGcm({}), "keys is empty"),
        (lambda: AesGcm({"a": b"short"}), "key a has 5 bytes, and 16, 24 or 32 are needed"),
        (lambda: AesGcm({"a/b": b"1" * 32}), "the key id 'a/b' is not"),
        (lambda: AesGcm(KEYS, current="c"), "current is 'c', and the keys are a, b"),
        (lambda: Compress(0), "level is 1 to 9, not 0"),
        (lambda: CodecChain([Compress(), Compress()]), "give each of them once"),
        (lambda: CodecChain([Compress]), "it is a class; give an object of it"),
        (lambda: CodecChain(["zlib"]), "'zlib' is no payload codec: it has no name"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(make: Any, problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        make()


def test_keys_are_in_no_text() -> None:
    assert repr(AesGcm(KEYS)) == "AesGcm(keys a, b; current b)"


def test_the_command_line_takes_what_a_function_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given_codecs.py").write_text(
        "from holdfast.codecs import Compress\nlisted = [Compress()]\n"
        "def make(): return listed\ndef wrong(): return 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_codecs(None) == []
    assert load_codecs("given_codecs:make") == load_codecs("given_codecs:listed")
    for target, problem in (("given_codecs:wrong", "it gives 5"), ("nowhere:make", "No module named 'nowhere'")):
        with pytest.raises(HoldfastError, match=problem):
            load_codecs(target)


def test_a_client_and_a_worker_without_codecs_import_nothing_for_them() -> None:
    script = "import sys, holdfast; from holdfast import Client, Worker; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert {"cryptography", "fsspec"}.isdisjoint(ran.stdout.split())
