"""Records behave as dataclasses do: what is different is how they are made."""

from dataclasses import dataclass, field, fields, replace

import pytest

from holdfast.record import record


@record
class Parcel:
    """A parcel."""

    name: str
    grams: int = 0
    seen_by: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)


@record
class Letter:
    """A letter, with the same fields."""

    name: str
    grams: int = 0


@record
class Nothing:
    """It has no fields."""


def test_records_are_equal_and_hashed_by_the_fields_that_are_compared() -> None:
    assert Parcel("a", 1) == Parcel("a", 1, ["me"])
    assert hash(Parcel("a", 1)) == hash(Parcel("a", 1, ["me"]))
    assert Parcel("a", 1) != Parcel("a", 2)
    assert len({Parcel("a"), Parcel("a"), Parcel("b")}) == 2


def test_records_of_two_classes_are_never_equal() -> None:
    assert Parcel("a") != Letter("a")
    assert Letter("a") != ("a", 0)
    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1


def test_a_record_is_written_as_it_is_made_without_what_is_not_shown() -> None:
    assert repr(Parcel("a", 1, ["me"], "x")) == "Parcel(name='a', grams=1, seen_by=['me'])"
    assert repr(Nothing()) == "Nothing()"


def test_a_record_is_a_dataclass_with_slots() -> None:
    assert replace(Parcel("a"), grams=5).grams == 5
    assert [one.name for one in fields(Letter)] == ["name", "grams"]
    match Letter("a", 7):
        case Letter(name, grams):
            assert (name, grams) == ("a", 7)
    with pytest.raises(AttributeError):
        Letter("a").other = 1  # type: ignore[attr-defined]


def test_a_record_and_a_dataclass_of_the_same_fields_are_written_alike() -> None:
    @record
    class One:
        a: int
        b: tuple[str, ...] = ()

    made = repr(One(1, ("x",)))

    @dataclass
    class One:  # type: ignore[no-redef]
        a: int
        b: tuple[str, ...] = ()

    assert made == repr(One(1, ("x",)))
