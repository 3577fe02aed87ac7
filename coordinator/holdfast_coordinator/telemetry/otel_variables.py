"""Where telemetry is exported to, read from the standard OTEL_* variables. Pure: the variables are an argument.

Follows the OpenTelemetry specification, with two differences: without an endpoint nothing is exported, since a
coordinator without a configured collector must not look for one; and a value that cannot be understood is an error
instead of being ignored. Values of headers are secrets: no error shows them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

OTLP_PORT = 4317
"""Where collectors listen for OTLP/gRPC."""

DEFAULT_ENDPOINT = f"http://localhost:{OTLP_PORT}"

TIMEOUT_MS_MIN = 100
"""Below, the writer of the variable most likely meant seconds, and no collector would ever answer in time."""

_PREFIX = "OTEL_EXPORTER_OTLP_"
_SAMPLERS = ("always_on", "always_off", "traceidratio")
_HEADER_KEY = re.compile(r"[0-9a-z_.\-]+")

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Endpoint:
    """A collector that speaks OTLP/gRPC, and how it is spoken to.

    address: host:port. headers: what is sent with each request, keys in lower case. certificate: PEM of the authorities
    that the collector is checked against, none for the system's. client_certificate and client_key: PEM, both or none.
    """

    address: str
    is_secure: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_seconds: float = 10.0
    is_compressed: bool = False
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(slots=True, frozen=True)
class ExportSettings:
    """What is exported, and where to. None: that signal is not exported.

    sample_ratio: the share of traces that is sampled, from 0 to 1; None when no variable says it.
    """

    traces: Endpoint | None = None
    metrics: Endpoint | None = None
    sample_ratio: float | None = None

    @classmethod
    def from_variables(cls, variables: Mapping[str, str], otlp: str | None = None) -> "ExportSettings":
        """The settings that the environment says.

        otlp: the URL of a collector that an operator named; traces go there, whatever variables say of endpoints,
        exporters and the protocol, and even when OTEL_SDK_DISABLED is set. So do metrics, unless the variable of their
        exporters leaves it out. The other variables still hold.
        Raises ValueError, a sentence that names the variable.
        """
        env = {name: value.strip() for name, value in variables.items() if name.startswith("OTEL_") and value.strip()}
        if not otlp and _flag(env, "OTEL_SDK_DISABLED"):
            return cls()
        traces = _endpoint(_Signal(env, "TRACES"), otlp)
        metrics = _endpoint(_Signal(env, "METRICS"), otlp)
        return cls(traces, metrics, _sample_ratio(env) if traces is not None else None)


class _Signal:
    """The variables as one signal has them: its own before the general ones."""

    def __init__(self, env: Mapping[str, str], signal: str) -> None:
        self.env = env
        self.name = signal

    def variable(self, option: str) -> str | None:
        """The name of the variable that holds for an option; None when none is set."""
        names = (f"{_PREFIX}{self.name}_{option}", f"{_PREFIX}{option}")
        return next((name for name in names if name in self.env), None)

    def read(self, option: str, parse: Callable[[str, str], T], *, otherwise: T) -> T:
        """The parsed value of an option. parse: takes the name of the variable and its value."""
        name = self.variable(option)
        return otherwise if name is None else parse(name, self.env[name])

    def path(self, option: str) -> Path | None:
        """The file that an option names."""
        name = self.variable(option)
        return None if name is None else Path(self.env[name])

    def exporters(self) -> list[str]:
        """The exporters that are configured for the signal."""
        name = f"OTEL_{self.name}_EXPORTER"
        known = ("otlp", "none", "prometheus") if self.name == "METRICS" else ("otlp", "none")
        chosen = [item.strip() for item in self.env.get(name, "").split(",") if item.strip()]
        for item in chosen:
            if item not in known:
                raise ValueError(f"{name}={item!r} is not an exporter that holdfast has; use {_listed(known)}")
        return chosen

    def is_exported(self) -> bool:
        """Whether a collector, or an exporter, is configured, and the signal is not switched off."""
        if chosen := self.exporters():
            return "otlp" in chosen and "none" not in chosen
        return self.variable("ENDPOINT") is not None


def _endpoint(signal: _Signal, otlp: str | None) -> Endpoint | None:
    if otlp:
        # Many collectors take traces only. Who names one means traces, so only metrics can be left out.
        if signal.name == "METRICS" and signal.exporters() and not signal.is_exported():
            return None
        address, is_secure = _address("--otlp", otlp, signal)
    elif signal.is_exported():
        signal.read("PROTOCOL", _require_grpc, otherwise=None)
        name = signal.variable("ENDPOINT") or f"{_PREFIX}ENDPOINT"
        address, is_secure = _address(name, signal.env.get(name, DEFAULT_ENDPOINT), signal)
    else:
        return None
    certificate, key = signal.path("CLIENT_CERTIFICATE"), signal.path("CLIENT_KEY")
    if (certificate is None) != (key is None):
        missing = f"{_PREFIX}CLIENT_{'CERTIFICATE' if certificate is None else 'KEY'}"
        raise ValueError(f"a client certificate and its key are given together: {missing} is not set")
    return Endpoint(
        address,
        is_secure,
        headers=signal.read("HEADERS", _headers, otherwise=()),
        timeout_seconds=signal.read("TIMEOUT", _timeout, otherwise=10.0),
        is_compressed=signal.read("COMPRESSION", _compression, otherwise=False),
        certificate=signal.path("CERTIFICATE"),
        client_certificate=certificate,
        client_key=key,
    )


def _address(name: str, text: str, signal: _Signal) -> tuple[str, bool]:
    """host:port, and whether it is spoken to over TLS. A path is left out: gRPC has none."""
    if "@" in text:
        raise ValueError(f"{name} holds a user's name or password; give them in {_PREFIX}HEADERS instead")
    has_scheme = "://" in text
    try:
        url = urlsplit(text if has_scheme else f"//{text}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"{name}={text!r} is not a URL ({error}); write {DEFAULT_ENDPOINT}") from None
    if not host or any(character.isspace() for character in text) or (has_scheme and url.scheme not in _SCHEME_PORTS):
        raise ValueError(f"{name}={text!r} is not a URL of a collector; write {DEFAULT_ENDPOINT}, or https://...")
    if has_scheme:
        is_secure = url.scheme == "https"
    else:
        # The specification has TLS where nothing is said. Who types `--otlp collector:4317` means what works here.
        is_secure = not signal.read("INSECURE", _flag_value, otherwise=name == "--otlp")
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port or _SCHEME_PORTS.get(url.scheme, OTLP_PORT)}", is_secure


_SCHEME_PORTS = {"http": OTLP_PORT, "https": 443}
"""Collectors in one's own network listen on OTLP's port; those of vendors, behind https, on that of https."""


def _require_grpc(name: str, value: str) -> None:
    if value != "grpc":
        raise ValueError(
            f"{name}={value!r}: holdfast speaks OTLP over gRPC only; set {name}=grpc and let the endpoint name the "
            f"collector's gRPC port, usually {OTLP_PORT}"
        )


def _headers(name: str, value: str) -> tuple[tuple[str, str], ...]:
    found = []
    for number, item in enumerate(value.split(","), start=1):
        if not item.strip():
            continue
        key, equals, text = item.partition("=")
        key, text = unquote(key.strip()).lower(), unquote(text.strip())
        # Neither key nor value is shown: who forgets the key writes the secret in its place.
        if not equals:
            raise ValueError(f"item {number} of {name} is not key=value")
        if not _HEADER_KEY.fullmatch(key) or key.startswith(("grpc-", ":")) or key.endswith("-bin"):
            raise ValueError(f"the key of item {number} of {name} is not one that gRPC can send: use a-z, 0-9, - _ .")
        if not text.isascii() or not text.isprintable():
            raise ValueError(f"the value of item {number} of {name} has characters that are not printable ASCII")
        found.append((key, text))
    return tuple(found)


def _timeout(name: str, value: str) -> float:
    if not value.isdecimal():
        raise ValueError(f"{name}={value!r} is not a number of milliseconds; 10 seconds are 10000")
    if int(value) < TIMEOUT_MS_MIN:
        raise ValueError(f"{name}={value} is in milliseconds and too short, at least {TIMEOUT_MS_MIN}; 10 s are 10000")
    return int(value) / 1_000


def _compression(name: str, value: str) -> bool:
    if value not in ("gzip", "none"):
        raise ValueError(f"{name}={value!r} is not a compression; use gzip or none")
    return value == "gzip"


def _sample_ratio(env: Mapping[str, str]) -> float | None:
    """Callers decide for runs that join their trace in any case: a sampler and its parentbased form are the same."""
    name = "OTEL_TRACES_SAMPLER"
    value = env.get(name)
    if value is None:
        return None
    sampler = value.removeprefix("parentbased_")
    if sampler not in _SAMPLERS:
        known = [*_SAMPLERS, *(f"parentbased_{sampler}" for sampler in _SAMPLERS)]
        raise ValueError(f"{name}={value!r} is not a sampler that holdfast has; use {_listed(known)}")
    if sampler == "traceidratio":
        return _ratio(f"{name}_ARG", env.get(f"{name}_ARG", "1"))
    return 1.0 if sampler == "always_on" else 0.0


def _ratio(name: str, value: str) -> float:
    try:
        ratio = float(value)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"{name}={value!r} is not a share of traces; use a number from 0 to 1")
    return ratio


def _flag(env: Mapping[str, str], name: str) -> bool:
    return name in env and _flag_value(name, env[name])


def _flag_value(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{name}={value!r} is neither true nor false")
    return value.lower() == "true"


def _listed(words: tuple[str, ...] | list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
