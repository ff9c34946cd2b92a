"""Every setting of Verdigrid, typed, with its environment variable ``VERDIGRID_<NAME>``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigurationError


class Settings(BaseSettings):
    """What an installation can be told. The defaults run the sandbox city on one machine."""

    # An empty variable is none: as a folder to watch it would be the one we stand in.
    model_config = SettingsConfigDict(
        env_prefix="VERDIGRID_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        default=Path(".verdigrid"), description="Folder of the embedded database, broker and logs."
    )
    database_url: str = Field(
        default="",
        description="A PostgreSQL 15+ or TimescaleDB to use instead of the embedded server.",
    )
    host: str = Field(default="127.0.0.1", description="Address the web application listens on.")
    port: int = Field(default=8050, ge=1, le=65535, description="Port of the web application.")
    broker_host: str = Field(default="127.0.0.1", description="Address of the MQTT broker.")
    broker_port: int = Field(
        default=18830,
        ge=1,
        le=65535,
        description="Port of the MQTT broker; not 1883, which a system's own broker often holds.",
    )
    broker: Literal["own", "external"] = Field(
        default="own", description="'own' starts a broker, 'external' uses a running one."
    )
    broker_user: str = Field(default="", description="User name at the MQTT broker, if it asks.")
    broker_password: SecretStr = Field(
        default=SecretStr(""), description="Password at the MQTT broker; never logged."
    )
    broker_tls: bool = Field(
        default=False, description="Whether to speak TLS to an external broker; it is checked."
    )
    broker_ca: Path | None = Field(
        default=None, description="PEM file of authorities to trust in place of the system's."
    )
    broker_cert: Path | None = Field(
        default=None, description="PEM file of our certificate, for brokers that ask for one."
    )
    broker_key: Path | None = Field(default=None, description="PEM file of that one's key.")
    broker_share: str = Field(
        default="",
        description="Group of ingesters that divide the messages; each needs its own client id.",
    )
    mqtt_version: Literal["3.1.1", "5"] = Field(
        default="3.1.1", description="Which MQTT to speak; amqtt, our second broker, has no 5."
    )
    client_id: str = Field(
        default="verdigrid-ingest",
        description="MQTT client id; the broker keeps undelivered messages under it.",
    )
    batch_rows: int = Field(default=10_000, ge=1, description="Readings a batch holds at most.")
    batch_ms: int = Field(default=20, ge=1, description="Longest wait before a batch is written.")
    quota_readings_per_s: float = Field(
        default=50.0,
        ge=0,
        description="Readings of one device in a city second; more are kept in bundles. 0: no end.",
    )
    quota_burst: float = Field(
        default=200_000, ge=1, description="What a device may deliver at once after an outage."
    )
    field_host: str = Field(
        default="127.0.0.1", description="Address that HJ 212 stations and chargers connect to."
    )
    hj212_port: int = Field(
        default=0, ge=0, le=65535, description="Port for HJ 212 stations; 0 is off."
    )
    hj212_2025: bool = Field(
        default=False, description="Experimental: speak HJ 212-2025 with stations that have a key."
    )
    ocpp_port: int = Field(default=0, ge=0, le=65535, description="Port for chargers; 0 is off.")
    ocpp_cert: Path | None = Field(
        default=None, description="PEM file of the certificate that chargers see; none: no TLS."
    )
    ocpp_key: Path | None = Field(default=None, description="PEM file of that one's key.")
    drop_folder: Path | None = Field(
        default=None, description="Folder in which files of readings are imported as they come."
    )
    spool_mb: int = Field(
        default=512,
        ge=1,
        description="What HJ 212, OCPP and Modbus may keep on disk while the database is away.",
    )
    sandbox: bool = Field(default=True, description="Whether `up` runs the simulated city.")
    sandbox_pace: float = Field(
        default=60.0, gt=0, le=3600, description="City seconds that pass in one real second."
    )
    sandbox_start: datetime = Field(
        default=datetime.fromisoformat("2026-06-22T14:00:00+08:00"),
        description="City time at the very first start.",
    )
    sandbox_history_days: int = Field(
        default=28, ge=8, le=200, description="Days of readings the city starts with."
    )
    sandbox_sunspec_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the simulated PV plant; 0 picks one."
    )
    sandbox_seed: int = Field(default=1, ge=0, description="Seed of everything random in the city.")
    session_idle_minutes: int = Field(default=60, ge=1, description="A session ends after this.")
    session_hours: int = Field(default=12, ge=1, description="A session lasts no longer than this.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "text"

    @field_validator("sandbox_start")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("the start of the sandbox needs a time zone, as in +08:00")
        return value

    @property
    def database_folder(self) -> Path:
        """Where the embedded server keeps its data."""
        return self.home.resolve() / "database"

    @property
    def broker_folder(self) -> Path:
        """Where our own broker keeps its messages."""
        return self.home.resolve() / "broker"

    @property
    def sandbox_folder(self) -> Path:
        """Where the simulated city keeps its state."""
        return self.home.resolve() / "sandbox"

    @property
    def spool_folder(self) -> Path:
        """Where receivers without a broker keep what the database does not have yet."""
        return self.home.resolve() / "spool"

    @property
    def log_folder(self) -> Path:
        """Where the processes write their logs."""
        return self.home.resolve() / "logs"

    @property
    def run_folder(self) -> Path:
        """Locks and small state of running processes."""
        return self.home.resolve() / "run"

    @property
    def base_url(self) -> str:
        """Where a browser finds the application."""
        return f"http://{self.host}:{self.port}"


def load() -> Settings:
    """The settings from the environment; raises ConfigurationError naming what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "VERDIGRID_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(
            f"{name} cannot be used: {first['msg']} (it is {first.get('input')!r})."
        ) from error
