"""The example of a pipeline does what it says."""

from decimal import Decimal

import pytest

from examples.pipeline import order_processing
from holdfast import RunFailed
from holdfast.testing import run_local


async def test_an_order_is_validated_paid_and_confirmed() -> None:
    run = await run_local(order_processing, "o-1", Decimal("9.99"))
    assert run.value() == len("receipt o-1: 9.99")


async def test_an_order_that_costs_nothing_goes_no_further() -> None:
    run = await run_local(order_processing, "o-2", Decimal(0))
    with pytest.raises(RunFailed, match="order o-2 costs nothing"):
        run.value()
    assert "process_payment" not in str(run.history)
