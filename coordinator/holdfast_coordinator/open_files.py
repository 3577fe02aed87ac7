"""How many files this process may have open, and how many of them connections may take. Asks the kernel; never logs."""

import sys

RESERVED_FILES = 160
"""Files that are no connections of peers: those to the database, the embedded server, metrics, exports, logs."""
CONNECTIONS_MIN = 16


def room_for_connections(wanted: int) -> int:
    """How many connections of peers there is room for, at most `wanted`.

    Raises the soft limit of open files as far as that needs and the hard one allows, as runtimes do that do not use
    `select`. Without a limit of connections the last file would go to one, and none be left for the database.
    """
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(min(wanted, max(allowed, soft) - RESERVED_FILES), CONNECTIONS_MIN)
