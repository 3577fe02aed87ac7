"""A trip is booked whole or not at all: what was booked is cancelled in reverse when a later part fails.

holdfast dev examples.saga
holdfast run book_trip --input '["Ada", "Oslo"]'
holdfast run book_trip --input '["Ada", "Atlantis"]'
"""

from holdfast import FatalError, Saga, step, workflow

bookings: list[str] = []
"""Stands for the systems of airline, hotel and car rental."""


@step
async def book(what: str, traveller: str, city: str) -> None:
    if what == "car" and city == "Atlantis":
        raise FatalError("there are no roads in Atlantis")  # never retried
    bookings.append(f"{what} for {traveller}")


@step(retries=20)
async def cancel(what: str, traveller: str) -> None:
    """Does no harm where nothing was booked."""
    if f"{what} for {traveller}" in bookings:
        bookings.remove(f"{what} for {traveller}")


@workflow
async def book_trip(traveller: str, city: str) -> str:
    async with Saga() as saga:
        for what in ("flight", "hotel", "car"):
            # Added before: a booking that fails half-way is undone too.
            saga.add(cancel, what, traveller)
            await book(what, traveller, city)
    return f"{traveller} goes to {city}"
