"""Values to bytes and back. Nothing here executes what it decodes, and nothing is ever pickled."""

from holdfast.codec.values import Codec

__all__ = ["Codec"]
