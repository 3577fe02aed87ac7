"""Compression, for values with much text."""

import zlib


class Compress:
    """Compresses what gets smaller by it.

    level: 1 is fast, 9 is small. above: bytes; what is not larger stays as it is. bytes_max: what a value may have once
    it is decompressed, so that a small one from elsewhere does not take all memory.
    """

    name = "zlib"
    hides = False
    blocks = False

    def __init__(self, level: int = 6, *, above: int = 512, bytes_max: int = 256 * 1024**2) -> None:
        if not 1 <= level <= 9:
            raise ValueError(f"Compress: level is 1 to 9, not {level}")
        self._level = level
        self._above = above
        self._bytes_max = bytes_max

    def encode(self, data: bytes) -> tuple[str, bytes] | None:
        if not self._above < len(data) <= self._bytes_max:
            return None
        made = zlib.compress(data, self._level)
        return ("", made) if len(made) < len(data) else None

    def decode(self, text: str, data: bytes) -> bytes:
        stream = zlib.decompressobj()
        made = stream.decompress(data, self._bytes_max)
        if not stream.eof:
            raise ValueError(f"it is cut off, or has more than {self._bytes_max:,} bytes")
        return made
