"""Calls that a replay cannot repeat: what a worker's guards refuse, and what gets there through other libraries."""

import ast
from collections.abc import Callable, Iterator

from holdfast import forbidden_calls
from holdfast.forbidden_calls import FORBIDDEN_CALLS, Condition
from holdfast.lint.rules import BY_CODE, BY_KIND, CheckRule
from holdfast.lint.scopes import NameScope
from holdfast.lint.workflow_code import WorkflowCode

Found = tuple[CheckRule, ast.expr, str]
"""The rule, what breaks it, and what to call that for people."""

_PATH = "pathlib.Path"
_PATH_METHODS = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "open", "exists", "is_file", "is_dir", "is_symlink"}
    | {"stat", "lstat", "iterdir", "glob", "rglob", "walk", "mkdir", "rmdir", "unlink", "rename", "replace", "touch"}
    | {"resolve", "chmod", "owner", "group", "samefile", "symlink_to", "hardlink_to", "readlink", "expanduser"}
)
_OTHERS: dict[str, tuple[str, ...]] = {
    "HF101": (
        *("datetime.datetime.today", "pandas.Timestamp.now", "pandas.Timestamp.utcnow", "pandas.Timestamp.today"),
        *("pendulum.now", "pendulum.today", "arrow.now", "arrow.utcnow", "django.utils.timezone.now"),
        *("time.thread_time", "time.clock_gettime", "time.clock_gettime_ns", "time.process_time_ns"),
    ),
    "HF103": ("random.SystemRandom", "secrets.*", "numpy.random.*"),
    "HF105": (
        *("os.walk", "os.makedirs", "os.removedirs", "os.access", "os.link", "os.symlink", "os.lstat", "os.chmod"),
        *(
            "os.path.exists",
            "os.path.isfile",
            "os.path.isdir",
            "os.path.getsize",
            "os.path.getmtime",
            "os.path.realpath",
        ),
        *("glob.glob", "glob.iglob", "shutil.*", "tempfile.*", "fileinput.input", "io.FileIO", "getpass.getpass"),
        *("sys.stdin.read", "sys.stdin.readline", "sys.stdin.readlines", "sqlite3.connect", "aiofiles.open"),
        *("pathlib.Path.cwd", "pathlib.Path.home"),
    ),
    "HF106": (
        *(
            "socket.socket",
            "socket.create_connection",
            "socket.create_server",
            "socket.getfqdn",
            "socket.gethostbyaddr",
        ),
        *("socket.socketpair", "urllib.request.urlopen", "urllib.request.urlretrieve", "http.client.HTTPConnection"),
        *("http.client.HTTPSConnection", "smtplib.SMTP", "smtplib.SMTP_SSL", "ftplib.FTP", "imaplib.IMAP4_SSL"),
        *("asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection"),
        *(f"{module}.{verb}" for module in ("requests", "httpx") for verb in ("get", "post", "put", "patch", "delete")),
        *(f"{module}.{verb}" for module in ("requests", "httpx") for verb in ("head", "options", "request")),
        *("requests.Session", "requests.session", "httpx.stream", "httpx.Client", "httpx.AsyncClient"),
        *("aiohttp.ClientSession", "aiohttp.request", "urllib3.PoolManager", "urllib3.request", "boto3.client"),
        *("boto3.resource", "boto3.Session", "redis.Redis", "redis.from_url", "redis.asyncio.Redis"),
        *("redis.asyncio.from_url", "psycopg.connect", "psycopg.AsyncConnection.connect", "psycopg2.connect"),
        *("asyncpg.connect", "asyncpg.create_pool", "pymongo.MongoClient", "sqlalchemy.create_engine"),
        *("sqlalchemy.ext.asyncio.create_async_engine", "grpc.insecure_channel", "grpc.secure_channel"),
        *("grpc.aio.insecure_channel", "grpc.aio.secure_channel", "paramiko.SSHClient", "openai.OpenAI"),
        *("openai.AsyncOpenAI", "anthropic.Anthropic", "anthropic.AsyncAnthropic", "fsspec.open"),
    ),
    "HF107": (
        *("subprocess.Popen", "subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output"),
        *("subprocess.getoutput", "subprocess.getstatusoutput", "os.popen", "os.execl", "os.execlp", "os.execvp"),
        *("os.spawnl", "os.spawnv", "multiprocessing.Process", "multiprocessing.Pool", "multiprocessing.Manager"),
        *("concurrent.futures.ProcessPoolExecutor", "concurrent.futures.process.ProcessPoolExecutor"),
        *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
    ),
    "HF108": (
        *("threading.Thread", "threading.Timer", "_thread.start_new_thread", "concurrent.futures.ThreadPoolExecutor"),
        *("concurrent.futures.thread.ThreadPoolExecutor", "multiprocessing.pool.ThreadPool", "asyncio.to_thread"),
        *("asyncio.run_coroutine_threadsafe", "asyncio.wrap_future", "anyio.to_thread.run_sync"),
    ),
    "HF110": (
        *("os.getenv", "os.getpid", "os.getppid", "os.getcwd", "os.cpu_count", "os.uname", "os.getlogin"),
        *("platform.*", "builtins.hash", "builtins.id", "getpass.getuser", "threading.get_ident"),
    ),
}
"""What no guard names, by rule. `.*`: everything of a module."""


def _without_arguments(call: ast.Call) -> bool:
    if call.keywords:
        return False
    return not call.args or (isinstance(call.args[0], ast.Constant) and call.args[0].value is None)


def _with_one_argument(call: ast.Call) -> bool:
    return len(call.args) + len(call.keywords) < 2 and not any(isinstance(one, ast.Starred) for one in call.args)


_CONDITIONS: dict[Condition, Callable[[ast.Call], bool]] = {
    "always": lambda _: True,
    "without_arguments": _without_arguments,
    "with_one_argument": _with_one_argument,
    "without_a_seed": _without_arguments,
}

_Entry = tuple[CheckRule, str, Callable[[ast.Call], bool]]


def _known() -> dict[str, _Entry]:
    known = dict[str, _Entry]()
    for owner, names, kind, instead, condition in FORBIDDEN_CALLS:
        for name in names:
            known[f"{owner}.{name}"] = BY_KIND[kind], instead, _CONDITIONS[condition]
    for code, names in _OTHERS.items():
        rule = BY_CODE[code]
        known |= dict.fromkeys(names, (rule, rule.instead, _CONDITIONS["always"]))
    random = BY_KIND["random"]
    known["random.Random"] = random, forbidden_calls.RANDOM, _without_arguments
    return known


_KNOWN = _known()
_ENVIRON = BY_CODE["HF110"]
_FILE, _THREAD = BY_KIND["file"], BY_KIND["thread"]


def forbidden(code: WorkflowCode) -> Iterator[tuple[Found, str]]:
    """What workflow code asks for that it must not, with what to write instead."""
    for node, scope, is_unguarded in code.places:
        if is_unguarded:
            continue
        if isinstance(node, ast.Call):
            yield from _call(node, scope)
        elif isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb")):
            dotted = scope.dotted(node)
            if dotted in ("os.environ", "os.environb"):
                yield (_ENVIRON, node, dotted), _ENVIRON.instead


def _call(call: ast.Call, scope: NameScope) -> Iterator[tuple[Found, str]]:
    dotted = scope.dotted(call.func)
    if dotted is not None:
        entry = _KNOWN.get(dotted) or _KNOWN.get(f"{dotted.rpartition('.')[0]}.*")
        if entry is not None:
            rule, instead, applies = entry
            if applies(call):
                yield (rule, call, f"{dotted.removeprefix('builtins.')}()"), instead
            return
    if isinstance(call.func, ast.Attribute):
        name = call.func.attr
        if name in _PATH_METHODS and _is_path(call.func.value, scope):
            yield (_FILE, call, f"Path.{name}()"), _FILE.instead
        elif name == "run_in_executor":
            yield (_THREAD, call, "loop.run_in_executor()"), _THREAD.instead


def _is_path(expression: ast.expr, scope: NameScope, hops: int = 0) -> bool:
    """Whether an expression is surely a path of the file system."""
    if hops > 8:
        return False
    match expression:
        case ast.Call():
            dotted = scope.dotted(expression.func)
            if dotted is not None:
                return dotted == _PATH or dotted.startswith(f"{_PATH}.")
            return isinstance(expression.func, ast.Attribute) and (
                expression.func.attr in ("joinpath", "with_suffix", "with_name", "absolute", "resolve", "expanduser")
                and _is_path(expression.func.value, scope, hops + 1)
            )
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _is_path(left, scope, hops + 1) or _is_path(right, scope, hops + 1)
        case ast.Attribute(value=value, attr="parent"):
            return _is_path(value, scope, hops + 1)
        case ast.Name(id=name):
            found = scope.variable(name)
            if found is None:
                return False
            variable, where = found
            if variable.annotation is not None and where.dotted(variable.annotation) == _PATH:
                return True
            return bool(variable.values) and all(_is_path(value, where, hops + 1) for value in variable.values)
    return False
