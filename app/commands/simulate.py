"""``verdigrid simulate``: the sandbox city, as a process that ends with its supervisor."""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.lifeline import end_with_parent
from sandbox import __main__ as program


def command(
    origin_wall: Annotated[str, typer.Option()],
    origin_city: Annotated[str, typer.Option()],
    pace: Annotated[float, typer.Option()],
) -> None:
    """Run the simulated city in this process, until SIGTERM."""
    end_with_parent()
    chosen = settings.load()
    program.run(
        broker_host=chosen.broker_host,
        broker_port=chosen.broker_port,
        origin_wall=origin_wall,
        origin_city=origin_city,
        pace=pace,
        seed=chosen.sandbox_seed,
        state_file=chosen.sandbox_folder / "state.json",
        until_city=None,
        with_noise=True,
        cache=chosen.sandbox_folder,
    )
