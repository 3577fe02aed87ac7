"""Stored histories against the code of today: whether an open run would go on with it, and where it would not.

Never runs a step. `stored` has the run, `replaying` feeds it into the code, `files` reads and writes it as JSON.
"""
