"""What a coordinator is told: options, then HOLDFAST_* variables, then defaults."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from holdfast.durations import parse_duration
from holdfast.limits import DEFAULT_LIMITS, DEFAULT_PORT, NAME_MAX


class Config(BaseSettings):
    """Everything that can be set. Each field is also the variable HOLDFAST_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore", frozen=True)

    database_url: str | None = Field(default=None, description="Postgres to use; none means the embedded one")
    data_directory: Path | None = Field(default=None, description="where the embedded Postgres keeps its data")
    ephemeral: bool = Field(default=False, description="embedded Postgres in a directory that is removed at the end")
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535, description="the port to listen on; 0 takes a free one")
    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("default",), description="namespaces to create, separated by commas"
    )
    session_ttl: str = Field(default="10s", description="a worker that is silent for so long is dead")
    poll_wait: str = Field(default="30s", description="how long a poll of a worker is held")
    payload_bytes_max: int = Field(default=DEFAULT_LIMITS.payload_bytes, ge=1_024, description="the largest payload")
    log_json: bool = Field(default=False, description="one JSON object per log line")
    log_level: str = Field(default="info", description="debug, info, warning or error")

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name for name in value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("namespaces")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name or len(name) > NAME_MAX or not name.isprintable():
                raise ValueError(f"a namespace has 1 to {NAME_MAX} printable characters")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("a database URL begins with postgresql://")
        return value

    @field_validator("session_ttl", "poll_wait")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError(f"{value!r} is not a log level: debug, info, warning or error")
        return value.lower()
