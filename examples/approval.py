"""Two people have to approve a payment: handlers of signals, and a condition with a time limit.

holdfast dev examples.approval
holdfast start payment --id payment-7 --arg number=7 --arg 'amount="1500.00"'
holdfast runs signal payment-7 approve '{"by": "Ada"}'
holdfast runs signal payment-7 approve '{"by": "Grace"}'
"""

from dataclasses import dataclass
from decimal import Decimal

import holdfast
from holdfast import step, workflow


@dataclass
class Approval:
    by: str
    comment: str = ""


@step
async def pay(number: int, amount: Decimal) -> str:
    return f"paid {amount} for {number}"


@step
async def remind(number: int, approved_by: list[str]) -> None:
    print(f"payment {number} waits for approval; so far: {', '.join(approved_by) or 'nobody'}")


@workflow(id="payment-{number}")
async def payment(number: int, amount: Decimal) -> str:
    approved_by: dict[str, str] = {}
    rejected_by: list[str] = []

    @holdfast.on_signal("approve")
    def approve(approval: Approval) -> None:
        approved_by[approval.by] = approval.comment  # the same person twice counts once

    @holdfast.on_signal("reject")
    def reject(approval: Approval) -> None:
        rejected_by.append(approval.by)

    for _ in range(3):
        try:
            await holdfast.wait_until(lambda: len(approved_by) >= 2 or bool(rejected_by), timeout="1d")
        except TimeoutError:
            await remind(number, list(approved_by))
        else:
            break
    if rejected_by:
        return f"rejected by {rejected_by[0]}"
    if len(approved_by) < 2:
        return "not approved in time"
    return await pay(number, amount)
