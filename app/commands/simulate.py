"""``verdigrid simulate``: the sandbox city and its devices, processes of their own that end with
their supervisor.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.lifeline import end_with_parent

group = typer.Typer(help="Run parts of the simulated city.", no_args_is_help=True)

Wall = Annotated[str, typer.Option(help="Wall time at which the city shows ...")]
Shown = Annotated[str, typer.Option(help="... this city time; both ISO 8601 with zone.")]
Pace = Annotated[float, typer.Option(help="City seconds in a second.")]


@group.command()
def city(origin_wall: Wall, origin_city: Shown, pace: Pace) -> None:
    """Meters, PV, storage, air, water and noise over MQTT, until SIGTERM."""
    end_with_parent()
    from sandbox import __main__ as program

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


@group.command()
def station(origin_wall: Wall, origin_city: Shown, pace: Pace) -> None:
    """An air and noise station that speaks HJ 212, until SIGTERM."""
    end_with_parent()
    from sandbox import hj212_station

    chosen = settings.load()
    hj212_station.main(
        port=chosen.hj212_port,
        state=chosen.sandbox_folder / "station.json",
        origin_wall=origin_wall,
        origin_city=origin_city,
        pace=pace,
    )


@group.command()
def inverter(origin_wall: Wall, origin_city: Shown, pace: Pace) -> None:
    """A PV plant with meter and battery that speaks SunSpec, until SIGTERM."""
    end_with_parent()
    from sandbox import sunspec_inverter

    sunspec_inverter.main(
        port=settings.load().sandbox_sunspec_port,
        origin_wall=origin_wall,
        origin_city=origin_city,
        pace=pace,
    )


@group.command()
def charger(origin_wall: Wall, origin_city: Shown, pace: Pace) -> None:
    """A charging post that speaks OCPP, until SIGTERM."""
    end_with_parent()
    from sandbox import ocpp_charger

    chosen = settings.load()
    ocpp_charger.main(
        [
            *("--url", f"ws://127.0.0.1:{chosen.ocpp_port}/ocpp"),
            *("--id", "sandbox-post-01"),
            *("--state", str(chosen.sandbox_folder / "charger.json")),
            *("--origin-wall", origin_wall),
            *("--origin-city", origin_city),
            *("--pace", str(pace)),
        ]
    )
