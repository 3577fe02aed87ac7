"""Several arguments are recorded together, so they are limited together."""

import pytest

from holdfast.codec import Codec
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import PayloadTooLarge
from holdfast.limits import Limits


def join(*texts: str, more: str = "") -> str:
    return "".join(texts) + more


@pytest.mark.parametrize("hashed", [False, True], ids=["step", "start"])
def test_arguments_that_only_together_exceed_the_limit_are_refused(*, hashed: bool) -> None:
    codec = Codec(Limits(payload_bytes=100))
    signature = CallSignature.of(join)
    codec.encode_arguments(signature, ("x" * 40,), {"more": "y" * 40}, what="step join", hashed=hashed)
    with pytest.raises(PayloadTooLarge, match="the argument list of step join has 104 bytes, the limit is 100"):
        codec.encode_arguments(signature, ("x" * 50,), {"more": "y" * 50}, what="step join", hashed=hashed)
