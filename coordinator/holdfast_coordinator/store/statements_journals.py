"""The statements that read journals, mail and progress outside of transactions, in pages. They lock nothing.

octet_length does not read a value that is stored out of line, so what a page leaves out costs nothing.
"""

from .database_connection import Statement
from .parameters import BIGINT, BIGINTS, TEXT, TEXTS
from .port import MAIL_PIECES_MAX
from .statements import columns
from .tables import journal, mail, step_progress

JOURNAL_ROWS_MAX = 10_000
BEGINNING_ROWS = 32
ROWS_BEFORE_MAX = 256
NEWEST_ROWS = 8
NEWEST_ROW_BYTES_MAX = 65_536


class CellJournals:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.journal_page = journal_page(schema)
        self.journal_beginnings = journal_beginnings(schema)
        self.journal_page_before = journal_page_before(schema)
        self.newest_rows = newest_rows(schema)
        self.has_transition = has_transition(schema)
        self.mail_of = mail_of(schema)
        self.mail_after = mail_after(schema)
        self.progress_of = progress_of(schema)
        self.published_value = published_value(schema)


def journal_page(schema: str) -> Statement:
    """Journal rows after $2, as long as those before them have at most $3 bytes; and whether one follows each.

    Index: journal_pkey, read in order and only as far as the LIMIT.
    """
    sql = f"""
        WITH page AS (
            SELECT j.*, lead(j.seq) OVER (ORDER BY j.seq) AS next_seq,
                sum(octet_length(j.entries)) OVER (ORDER BY j.seq ROWS UNBOUNDED PRECEDING)
                    - octet_length(j.entries) AS bytes_before
            FROM {schema}.journal j
            WHERE j.run_id = $1 AND j.seq > $2
            ORDER BY j.seq LIMIT {JOURNAL_ROWS_MAX}
        )
        SELECT {columns(journal, "page")}, page.next_seq IS NOT NULL
        FROM page
        WHERE page.bytes_before <= $3
        ORDER BY page.seq
    """
    return Statement("journal_page", sql, (TEXT, BIGINT, BIGINT))


def journal_beginnings(schema: str) -> Statement:
    """The first 32 journal rows of each run that $3 holds under an epoch, while those before have $4 bytes at most.

    With the length of each journal. Indexes: open_runs_pkey, behind a LIMIT that keeps the planner from going through
    all that the session holds, for each run anew; journal_pkey, in order.
    """
    sql = f"""
        WITH beginning AS (
            SELECT j.*, t.place, o.length,
                sum(octet_length(j.entries)) OVER (ORDER BY t.place, j.seq ROWS UNBOUNDED PRECEDING)
                    - octet_length(j.entries) AS bytes_before
            FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS t (run_id, epoch, place)
            CROSS JOIN LATERAL (
                SELECT p.owner, p.epoch, p.length FROM {schema}.open_runs p WHERE p.run_id = t.run_id LIMIT 1
            ) o
            CROSS JOIN LATERAL (
                SELECT * FROM {schema}.journal x
                WHERE x.run_id = t.run_id
                ORDER BY x.seq LIMIT {BEGINNING_ROWS}
            ) j
            WHERE o.owner = $3 AND o.epoch = t.epoch
        )
        SELECT {columns(journal, "beginning")}, beginning.length
        FROM beginning
        WHERE beginning.bytes_before <= $4
        ORDER BY beginning.place, beginning.seq
    """
    return Statement("journal_beginnings", sql, (TEXTS, BIGINTS, TEXT, BIGINT))


def journal_page_before(schema: str) -> Statement:
    """Journal rows before $2, newest first, at most 256, as far as their bytes allow; as journal_page.

    Index: journal_pkey, read backward and only as far as the LIMIT.
    """
    sql = f"""
        WITH page AS (
            SELECT j.*, lead(j.seq) OVER (ORDER BY j.seq DESC) AS next_seq,
                sum(octet_length(j.entries)) OVER (ORDER BY j.seq DESC ROWS UNBOUNDED PRECEDING)
                    - octet_length(j.entries) AS bytes_before
            FROM {schema}.journal j
            WHERE j.run_id = $1 AND j.seq < $2
            ORDER BY j.seq DESC LIMIT {ROWS_BEFORE_MAX}
        )
        SELECT {columns(journal, "page")}, page.next_seq IS NOT NULL
        FROM page
        WHERE page.bytes_before <= $3
        ORDER BY page.seq DESC
    """
    return Statement("journal_page_before", sql, (TEXT, BIGINT, BIGINT))


def newest_rows(schema: str) -> Statement:
    """The last 8 journal rows of each run, without those above 64 KiB. Index: journal_pkey, backward."""
    sql = f"""
        SELECT {columns(journal, "newest")}
        FROM unnest($1::text[]) AS t (run_id)
        CROSS JOIN LATERAL (
            SELECT j.* FROM {schema}.journal j WHERE j.run_id = t.run_id ORDER BY j.seq DESC LIMIT {NEWEST_ROWS}
        ) newest
        WHERE octet_length(newest.entries) <= {NEWEST_ROW_BYTES_MAX}
        ORDER BY newest.run_id, newest.seq
    """
    return Statement("newest_rows", sql, (TEXTS,))


def has_transition(schema: str) -> Statement:
    """A row when the journal has this transition after an entry. Index: journal_pkey."""
    sql = f"""
        SELECT j.seq
        FROM {schema}.journal j
        WHERE j.run_id = $1 AND j.seq > $2 AND j.epoch = $3 AND j.transition_id = $4
        LIMIT 1
    """
    return Statement("has_transition", sql, (TEXT, BIGINT, BIGINT, BIGINT))


def mail_of(schema: str) -> Statement:
    """Mail of runs after a number each, as long as the pieces before it have at most $3 bytes. Index: mail_pkey."""
    sql = f"""
        WITH waiting AS (
            SELECT n.*, t.place,
                sum(octet_length(n.body)) OVER (ORDER BY t.place, n.number ROWS UNBOUNDED PRECEDING)
                    - octet_length(n.body) AS bytes_before
            FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS t (run_id, after, place)
            CROSS JOIN LATERAL (
                SELECT * FROM {schema}.mail x
                WHERE x.run_id = t.run_id AND x.number > t.after
                ORDER BY x.number LIMIT {MAIL_PIECES_MAX}
            ) n
        )
        SELECT {columns(mail, "waiting")}
        FROM waiting
        WHERE waiting.bytes_before <= $3
        ORDER BY waiting.place, waiting.number
    """
    return Statement("mail_of", sql, (TEXTS, BIGINTS, BIGINT))


def mail_after(schema: str) -> Statement:
    """The next 1,000 pieces of mail of a run. Index: mail_pkey."""
    sql = f"""
        SELECT {columns(mail, "m")}
        FROM {schema}.mail m
        WHERE m.run_id = $1 AND m.number > $2
        ORDER BY m.number LIMIT {MAIL_PIECES_MAX}
    """
    return Statement("mail_after", sql, (TEXT, BIGINT))


def progress_of(schema: str) -> Statement:
    """What attempts of these runs have saved. Index: step_progress_pkey."""
    sql = f"""
        SELECT {columns(step_progress, "p")}
        FROM {schema}.step_progress p
        WHERE p.run_id = ANY ($1::text[])
        ORDER BY p.run_id, p.number
    """
    return Statement("progress_of", sql, (TEXTS,))


def published_value(schema: str) -> Statement:
    """What a run has published last under a key. Index: published_pkey."""
    sql = f"""
        SELECT p.value
        FROM {schema}.published p
        WHERE p.run_id = $1 AND p.key = $2
    """
    return Statement("published_value", sql, (TEXT, TEXT))
