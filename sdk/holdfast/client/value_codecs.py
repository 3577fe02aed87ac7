"""The codec of values that belongs to a chain of payload codecs."""

from dataclasses import replace

from holdfast.codec import Codec
from holdfast.codecs.chain import CodecChain
from holdfast.limits import DEFAULT_LIMITS

ADDED_BYTES = 1024
"""What codecs may add to the arguments of a call, so that what they make is within the coordinator's limit too."""

NO_CODECS = CodecChain(())


def value_codec(codecs: CodecChain) -> Codec:
    """Encodes values for this chain: larger ones than the coordinator takes, where they go elsewhere."""
    if not codecs:
        return Codec()
    bytes_max = codecs.bytes_max or DEFAULT_LIMITS.payload_bytes - ADDED_BYTES
    return Codec(replace(DEFAULT_LIMITS, payload_bytes=bytes_max), pickles=codecs.pickles)
