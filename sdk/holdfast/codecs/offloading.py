"""Large values kept elsewhere: in a directory or an object store, by fsspec."""

import hashlib
from typing import Any

from holdfast.errors import CodecMissing


class Offload:
    """Writes values above a size to a store, and sends their digest only. Needs `pip install 'holdfast[offload]'`.

    url: of a directory, as fsspec takes it: "file:///shared/payloads", "s3://bucket/payloads". above: bytes. bytes_max:
    the largest value. options: for the file system, such as credentials.

    Objects are named by their SHA-256 and written once. holdfast deletes none of them: expire them by the rules of the
    store, later than runs. Put it last, so that what is stored is compressed and encrypted.
    """

    name = "offload"
    hides = False
    blocks = True

    def __init__(self, url: str, *, above: int = 128 * 1024, bytes_max: int = 1024**3, **options: Any) -> None:
        """Raises ImportError that says what to install, and what fsspec raises for a URL that it cannot use."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ImportError("Offload needs fsspec; install it with: pip install 'holdfast[offload]'") from error
        self._files, self._root = url_to_fs(url, **options)
        self._above = above
        self.bytes_max = bytes_max

    def encode(self, data: bytes) -> tuple[str, bytes] | None:
        if len(data) <= self._above:
            return None
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not self._files.exists(path):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            # Another process may write the same at the same time: a reader must never find half of it.
            with self._files.transaction, self._files.open(path, "wb") as file:
                file.write(data)
        return digest[:12], digest.encode()

    def decode(self, text: str, data: bytes) -> bytes:
        digest = data.decode()
        try:
            found: bytes = self._files.cat_file(self._path(digest))
        except FileNotFoundError as error:
            raise CodecMissing(f"{self.name}/{digest[:12]}") from error
        if hashlib.sha256(found).hexdigest() != digest:
            raise CodecMissing(f"{self.name}/{digest[:12]}")
        return found

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"
