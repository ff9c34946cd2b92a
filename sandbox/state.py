"""What survives a restart: how far the city has come, and what its batteries hold."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import ConfigurationError, TimeError
from core.timeaxis import parse
from sandbox import citytime

_FORMAT = 1


@dataclass(frozen=True)
class State:
    """At the beginning of ``quarter``, everything before it sent: soc (b,), 0 to 1."""

    quarter: int
    soc: np.ndarray


def save(path: Path, state: State, seed: int) -> None:
    """Writes ``state`` so that a crash leaves the old file or the new one, never half of one.

    Raises ConfigurationError when the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "seed": seed,
        "sent_until": citytime.quarter_start(state.quarter).isoformat(),
        "soc": state.soc.tolist(),
    }
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"The sandbox cannot write its state to {path}: {error.strerror}."
        ) from error


def load(path: Path, seed: int, count: int) -> State | None:
    """The state kept in ``path`` for ``count`` batteries; None where there is none.

    Raises ConfigurationError when it cannot be read or belongs to another city.
    """
    try:
        content = json.loads(path.read_text())
        kept = (content["format"], content["seed"])
        soc = np.array(content["soc"], dtype=np.float64)
        start = parse(content["sent_until"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, TimeError) as error:
        raise ConfigurationError(
            f"The sandbox's state {path} cannot be read ({error}); delete it to begin anew."
        ) from error
    if kept != (_FORMAT, seed) or soc.shape != (count,) or not np.all((soc >= 0) & (soc <= 1)):
        raise ConfigurationError(
            f"The sandbox's state {path} belongs to another city; delete it to begin anew."
        )
    return State(citytime.quarter(start), soc)
