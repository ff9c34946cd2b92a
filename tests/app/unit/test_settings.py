"""Settings: defaults that run the sandbox, and a sentence for each value that cannot be used."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import settings
from app.wiring import broker_access
from core.errors import ConfigurationError
from ingest.mqtt_access import Access


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VERDIGRID_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("BROKER_PORT", "-1"),
        ("BROKER", "mosquitto"),
        ("BROKER_TLS", "perhaps"),
        ("MQTT_VERSION", "4"),
        ("BATCH_ROWS", "0"),
        ("BATCH_MS", "0.5"),
        ("SANDBOX", "perhaps"),
        ("SANDBOX_PACE", "-1"),
        ("SANDBOX_PACE", "0"),
        ("SANDBOX_PACE", "nan"),
        ("SANDBOX_PACE", "inf"),
        ("SANDBOX_START", "2026-06-22T09:00:00"),
        ("SANDBOX_START", "yesterday"),
        ("SANDBOX_HISTORY_DAYS", "7"),
        ("SANDBOX_SEED", "-1"),
        ("SESSION_IDLE_MINUTES", "0"),
        ("SESSION_HOURS", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"VERDIGRID_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        settings.load()
    assert str(caught.value).startswith(f"VERDIGRID_{name} cannot be used: ")
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_defaults_run_the_sandbox_on_loopback() -> None:
    found = settings.load()
    assert (found.host, found.port, found.base_url) == ("127.0.0.1", 8050, "http://127.0.0.1:8050")
    assert (found.broker, found.broker_host) == ("own", "127.0.0.1")
    assert found.broker_port != 1883
    assert found.sandbox
    assert found.sandbox_pace == 60.0  # 1 s = 1 min
    assert found.sandbox_start == datetime(2026, 6, 22, 6, tzinfo=UTC)
    assert not found.database_url


def test_every_folder_lies_below_home_and_is_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VERDIGRID_HOME", "somewhere")
    found = settings.load()
    derived = set(dir(found)) - set(type(found).model_fields)  # others are anybody's to name
    folders = [getattr(found, name) for name in derived if name.endswith("_folder")]
    assert len(set(folders)) == len(folders) >= 5
    assert {folder.parent for folder in folders} == {tmp_path / "somewhere"}


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder it would be the working directory, whose files would be taken in."""
    monkeypatch.setenv("VERDIGRID_DROP_FOLDER", "")
    monkeypatch.setenv("VERDIGRID_PORT", "")
    found = settings.load()
    assert found.drop_folder is None
    assert found.port == 8050


def test_a_variable_of_another_version_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDIGRID_NO_SUCH_SETTING", "1")
    settings.load()


def test_how_to_reach_the_broker_and_a_password_that_nobody_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "HOST": "mqtt.example.org",
        "PORT": "8883",
        "USER": "city",
        "PASSWORD": "do not tell",
        "TLS": "true",
        "CA": "ca.pem",
        "CERT": "us.pem",
        "KEY": "us.key",
    }.items():
        monkeypatch.setenv(f"VERDIGRID_BROKER_{name}", value)
    found = settings.load()
    access = broker_access(found)
    assert "do not tell" not in repr(found) + repr(access) + str(access)
    assert access == Access(
        "mqtt.example.org",
        8883,
        "city",
        "do not tell",
        tls=True,
        ca=Path("ca.pem"),
        certificate=Path("us.pem"),
        key=Path("us.key"),
    )
