"""Starts a peer's script under its own interpreter and reads its answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.peers.case import Case, Schedule

ROOT = Path(__file__).resolve().parents[2]
INTERPRETER = ROOT / ".venv-peers" / "bin" / "python"


OWN = ("pyomo",)
"""Peers that live in the project's environment."""


def solve(
    side: str, case: Case, *, repeat: int = 1, options: Mapping[str, str] | None = None
) -> tuple[Schedule, dict[str, float]]:
    """The schedule of ``side`` (linopy, pypsa, pyomo) and figures: objective, build_s, total_s.

    Raises RuntimeError with the script's own words when it fails or is not installed.
    """
    interpreter = Path(sys.executable) if side in OWN else INTERPRETER
    if not interpreter.exists():
        raise RuntimeError("The peers are not installed; `make peers` does it.")
    with TemporaryDirectory() as folder:
        question, answer = Path(folder, "case.npz"), Path(folder, "answer.npz")
        case.save(question)
        asked = [f"--option={name}={value}" for name, value in (options or {}).items()]
        again = ["--repeat", str(repeat)]
        done = subprocess.run(
            [interpreter, "-m", f"bench.peers.{side}_side", question, answer, *asked, *again],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{side} failed: {done.stderr.strip()[-2000:]}")
        return Schedule.load(answer)
