"""A whole city, started as a newcomer starts it: one for all end-to-end tests of a module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"


@dataclass
class RunningCity:
    """A started installation and its command line."""

    home: Path
    url: str
    environment: dict[str, str]
    up_seconds: float = 0.0
    up_output: str = ""

    def run(
        self, *arguments: str, timeout_s: float = 300.0, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``verdigrid ARGUMENTS`` against this installation, with ``typed`` as its input."""
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ready(self) -> dict[str, Any]:
        """What the readiness address says; empty while it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=10.0)
        except httpx.HTTPError:
            return {}
        return answer.json() if answer.status_code == 200 else {}

    def processes(self) -> dict[str, int]:
        """Process ids by name, as the supervisor noted them."""
        state = json.loads((self.home / "run" / "processes.json").read_text())
        return {name: facts["pid"] for name, facts in state.items() if facts["pid"]}

    def wait_until(self, what: str, condition: Any, timeout_s: float = 120.0) -> None:
        """Wait for ``condition()``; fails naming ``what`` and the last lines of every log."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.5)
        logs = "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:])
            for path in sorted((self.home / "logs").glob("*.log"))
        )
        pytest.fail(f"{what}: not within {timeout_s:.0f} s\n{logs}")


@pytest.fixture(scope="module")
def city(
    tmp_path_factory: pytest.TempPathFactory, hold_port: Callable[[], int]
) -> Iterator[RunningCity]:
    home = tmp_path_factory.mktemp("city") / "home"
    web, broker = hold_port(), hold_port()
    running = RunningCity(
        home=home,
        url=f"http://127.0.0.1:{web}",
        environment={
            **{k: v for k, v in os.environ.items() if not k.startswith("VERDIGRID_")},
            "VERDIGRID_HOME": str(home),
            "VERDIGRID_PORT": str(web),
            "VERDIGRID_BROKER_PORT": str(broker),
            "PYTHONWARNINGS": "",
        },
    )
    started = time.monotonic()
    up = running.run("up", timeout_s=600.0)
    running.up_seconds = time.monotonic() - started
    running.up_output = up.stderr
    try:
        assert up.returncode == 0, up.stderr
        yield running
    finally:
        down = running.run("down", timeout_s=180.0)
        assert down.returncode == 0, down.stderr
