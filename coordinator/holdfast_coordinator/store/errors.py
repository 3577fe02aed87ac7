"""What a failure of Postgres means for the caller, by its SQLSTATE and by when it came, never by its text.

Must not guess: what fails at COMMIT outside classes 40 and 23 may have been committed.
"""

from .port import DataRejected, LockTimeout, OutcomeUnknown, SerializationConflict, StoreError, StoreUnavailable

DIVISION_BY_ZERO = "22012"
UNIQUE_VIOLATION = "23505"
LOCK_NOT_AVAILABLE = "55P03"

_ENDS_CONNECTION = frozenset(
    {
        "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04",  # Postgres says that it closes it
        # A server that is read-only since a failover stays so for the sessions it has; a new one finds the primary.
        "25006",
        # A prepared statement is gone, is there already, or no longer fits its tables: what this side believes to be
        # prepared is wrong.
        "26000", "42P05", "0A000",
        "25P02",  # a transaction that has failed, and that is not ours
    }
)  # fmt: skip


class QueryFailed(Exception):
    """Postgres answered a statement with an error. `raced`: a unique violation there means that another was first."""

    def __init__(self, sqlstate: str, message: str, *, statement: str, raced: bool, at_commit: bool) -> None:
        super().__init__(f"{statement}: {message} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate
        self.statement = statement
        self.raced = raced
        self.at_commit = at_commit

    @property
    def ends_connection(self) -> bool:
        """True when Postgres closes the connection, has no room for it, or will never again do here what is asked."""
        return self.sqlstate[:2] in ("08", "53") or self.sqlstate in _ENDS_CONNECTION


class ConnectionLost(Exception):
    """The connection ended, or did not answer in time. Whatever was under way may or may not have happened."""


class RowsMissing(DataRejected):
    """Rows that a write must find are not there although they were locked: the decision was wrong."""


class SchemaTooNew(StoreError):
    """The database was migrated by a newer release."""

    def __init__(self, schema: str, *, found: str, known: str) -> None:
        super().__init__(
            f"schema {schema!r} is at version {found}, which this release does not know (it knows {known}); "
            "start the release that migrated it, or a newer one"
        )
        self.schema = schema
        self.found = found
        self.known = known


class UnsafeDatabase(StoreError):
    """Postgres runs with a setting under which committed work can be lost or torn."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"Postgres runs with {setting}=off; set {setting}=on, committed runs could be lost otherwise")
        self.setting = setting


class MigrationBusy(StoreError):
    """Another starter holds the migration lock for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another coordinator has been migrating for {seconds:g} s; wait for it, or end its session in Postgres"
        )
        self.seconds = seconds


def translated(error: QueryFailed | ConnectionLost, *, commit_sent: bool) -> StoreError:
    """The store's error for a failure. commit_sent: the failing round trip would have committed."""
    if isinstance(error, ConnectionLost):
        return OutcomeUnknown(str(error)) if commit_sent else StoreUnavailable(str(error))
    text, sqlstate = str(error), error.sqlstate
    category = sqlstate[:2]
    if sqlstate == LOCK_NOT_AVAILABLE:
        return LockTimeout(text)
    if category == "40" or (sqlstate == UNIQUE_VIOLATION and error.raced):
        return SerializationConflict(text)
    if error.at_commit and category != "23":
        return OutcomeUnknown(text)
    if sqlstate == DIVISION_BY_ZERO:
        return RowsMissing(text)
    # 54: limits such as the size of an index row; repeating the same data cannot help.
    if category in ("22", "23", "54"):
        return DataRejected(text)
    return StoreUnavailable(text)
