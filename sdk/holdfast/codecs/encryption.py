"""Encryption by AES-GCM, with keys that have names, so that another one can take over while runs are open."""

import os
import re
from collections.abc import Mapping
from typing import Any

from holdfast.errors import CodecMissing

_KEY_BYTES = (16, 24, 32)
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AesGcm:
    """Encrypts every value. Needs `pip install 'holdfast[crypto]'`.

    keys: by their ids, each of 16, 24 or 32 random bytes. current: the id of the key that encrypts; else the last one
    given. The others only decrypt: keep a key as long as runs are kept that were written with it.
    """

    name = "aes-gcm"
    hides = True
    blocks = False

    def __init__(self, keys: Mapping[str, bytes], *, current: str | None = None) -> None:
        """Raises ValueError for keys that cannot be used, and ImportError that says what to install."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ImportError("AesGcm needs cryptography; install it with: pip install 'holdfast[crypto]'") from error
        if not keys:
            raise ValueError("AesGcm: keys is empty; give at least one")
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"AesGcm: the key id {key_id!r} is not 1 to 64 of letters, digits, '-', '_' and '.'")
            if len(key) not in _KEY_BYTES:
                raise ValueError(f"AesGcm: key {key_id} has {len(key)} bytes, and 16, 24 or 32 are needed")
        self._current = current if current is not None else list(keys)[-1]
        if self._current not in keys:
            raise ValueError(f"AesGcm: current is {self._current!r}, and the keys are {', '.join(keys)}")
        self._ciphers: dict[str, Any] = {key_id: AESGCM(bytes(key)) for key_id, key in keys.items()}
        self._misfit: type[Exception] = InvalidTag

    @property
    def reads(self) -> tuple[str, ...]:
        """What it can read: its name with the id of each key."""
        return tuple(f"{self.name}/{key_id}" for key_id in self._ciphers)

    def __repr__(self) -> str:
        return f"AesGcm(keys {', '.join(self._ciphers)}; current {self._current})"

    def encode(self, data: bytes) -> tuple[str, bytes]:
        # A nonce must never come twice with one key: random ones may be used for about four billion values.
        nonce = os.urandom(_NONCE_BYTES)
        return self._current, nonce + self._ciphers[self._current].encrypt(nonce, data, self._current.encode())

    def decode(self, text: str, data: bytes) -> bytes:
        cipher = self._ciphers.get(text)
        if cipher is None:
            raise CodecMissing(f"{self.name}/{text}")
        try:
            plain: bytes = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], text.encode())
        except self._misfit as error:
            raise CodecMissing(f"{self.name}/{text}") from error
        return plain
