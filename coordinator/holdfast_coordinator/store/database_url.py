"""The URL of a database: checked before anything connects, and written the way libpq reads it.

Never repeats a part of a URL that cannot be read: any part may be the password.
"""

import psycopg
from psycopg.conninfo import conninfo_to_dict

SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


def checked_database_url(url: str) -> str:
    """The URL as libpq reads it, without white space around it. Several hosts are separated by commas.

    Raises ValueError with a sentence that holds no part of the URL.
    """
    url = url.strip()
    scheme = next((scheme for scheme in SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        raise ValueError("a database URL begins with postgresql://")
    url = f"postgresql://{url.removeprefix(scheme)}"
    try:
        facts = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        raise ValueError(
            "this database URL cannot be read; write postgresql://user:password@host:5432/database, with %25 for %, "
            "%40 for @, %2F for / and %3F for ? in user and password"
        ) from None
    ports = [port for port in str(facts.get("port") or "").split(",") if port]
    if not all(port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535 for port in ports):
        raise ValueError("the port in this database URL is not a number between 1 and 65535")
    return url


def described_database(url: str) -> str:
    """Hosts with their ports, and the database, of a URL for people; never the user or the password.

    Vague rather than wrong where the URL cannot be read.
    """
    try:
        facts = conninfo_to_dict(checked_database_url(url))
    except ValueError:
        return "the given URL"
    hosts = str(facts.get("host") or "localhost").split(",")
    ports = str(facts.get("port") or "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    return f"{','.join(places)}/{facts.get('dbname') or ''}"
