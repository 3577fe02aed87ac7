"""The text of the server's configuration files. Tuned for one machine, and durable: what commits, stays.

Never contains a password.
"""

from holdfast_coordinator.postgres.account import Account

SUPERUSER = "postgres"
ROLE = "holdfast"
DATABASE = "holdfast"
LOCAL_SETTINGS = "postgresql.local.conf"

POSTGRESQL_CONF = f"""\
# Written by holdfast at every start. Put your own settings into {LOCAL_SETTINGS} beside this file.

# Durable: a commit that was acknowledged survives a crash of the machine.
fsync = on
synchronous_commit = on
full_page_writes = on

# Room for seven coordinators of 20 connections each. What is not open costs nothing but a little shared memory.
max_connections = 150
# A machine that has other things to do.
shared_buffers = 128MB
max_wal_size = 2GB
min_wal_size = 128MB
checkpoint_timeout = 15min
wal_compression = on
jit = off
random_page_cost = 1.1
max_parallel_workers_per_gather = 0   # parallel queries need more /dev/shm than containers have

listen_addresses = ''
unix_socket_permissions = 0700
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
cluster_name = 'holdfast'
log_line_prefix = '%m [%p] '
log_checkpoints = off
logging_collector = off

include_if_exists '{LOCAL_SETTINGS}'
"""

# peer: the kernel says which user is on the other end of the socket, so that there is no password to keep
# and no trust in whoever else runs as the same dropped user.
PG_HBA_CONF = """\
# Written by holdfast at every start.
local all all peer map=holdfast
host all all 127.0.0.1/32 scram-sha-256
"""


def configuration_files(*, user_name: str, account: Account) -> dict[str, str]:
    """The server's files by name. user_name: who may connect over the socket, besides the account."""
    names = [user_name] if account.name == "nobody" else list(dict.fromkeys([user_name, account.name]))
    ident = "".join(f'holdfast "{name}" {role}\n' for name in names for role in (SUPERUSER, ROLE))
    return {
        "postgresql.conf": POSTGRESQL_CONF,
        "pg_hba.conf": PG_HBA_CONF,
        "pg_ident.conf": f"# Written by holdfast at every start.\n{ident}",
    }
