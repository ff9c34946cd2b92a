"""What survives a restart: how far the city has come, and what its batteries and plants hold."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import ConfigurationError, TimeError
from core.timeaxis import parse
from sandbox import citytime

_FORMAT = 2
_WITHOUT_PLANTS = 1
"""The format before the city had plants that hold something: they begin anew."""


@dataclass(frozen=True)
class Holding:
    """What the city holds: soc of its batteries (b,), 0 to 1; what each plant holds, by variable.

    A plant that is missing stands at its own beginning.
    """

    soc: np.ndarray
    plants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """At the beginning of ``quarter``, everything before it sent: what is held then."""

    quarter: int
    holding: Holding


def save(path: Path, state: State, seed: int) -> None:
    """Writes ``state`` so that a crash leaves the old file or the new one, never half of one.

    Raises ConfigurationError when the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "seed": seed,
        "sent_until": citytime.quarter_start(state.quarter).isoformat(),
        "soc": state.holding.soc.tolist(),
        "plants": {plant: dict(held) for plant, held in state.holding.plants.items()},
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
        plants = {
            str(plant): {str(name): float(value) for name, value in held.items()}
            for plant, held in content.get("plants", {}).items()
        }
        start = parse(content["sent_until"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, TimeError) as error:
        raise ConfigurationError(
            f"The sandbox's state {path} cannot be read ({error}); delete it to begin anew."
        ) from error
    known = kept in ((_FORMAT, seed), (_WITHOUT_PLANTS, seed))
    if not known or soc.shape != (count,) or not np.all((soc >= 0) & (soc <= 1)):
        raise ConfigurationError(
            f"The sandbox's state {path} belongs to another city; delete it to begin anew."
        )
    return State(citytime.quarter(start), Holding(soc, plants))
