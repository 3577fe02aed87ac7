"""Pickle, for values that JSON does not take. Only where it is asked for."""

from holdfast.journal.values import PICKLE


class Pickle:
    """Pickles values that cannot be stored as JSON, and reads such values.

    Whoever can write to the coordinator can then run any code in this process: use it where all of them are trusted,
    or with AesGcm, whose keys the others do not have.
    """

    name = PICKLE
