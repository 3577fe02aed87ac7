"""The codecs of command lines in tests."""

from holdfast.codecs import AesGcm, Compress

KEYS = {"test": b"k" * 32}


def make() -> list[object]:
    return [Compress(), AesGcm(KEYS)]
