"""Payload codecs: what becomes of values between this process and the coordinator, which never looks inside them.

`Client.connect(codecs=[Compress(), AesGcm(keys)])` and `Worker(client, codecs=...)`: applied in this order to all that
is sent, and in the other order to what comes. An own codec is an object as PayloadCodec says.
"""

from holdfast.codecs.chain import CodecChain, PayloadCodec
from holdfast.codecs.compression import Compress
from holdfast.codecs.encryption import AesGcm
from holdfast.codecs.offloading import Offload
from holdfast.codecs.pickling import Pickle

__all__ = ["AesGcm", "CodecChain", "Compress", "Offload", "PayloadCodec", "Pickle"]
