"""``python -m sandbox``: the simulated city's past as a file, and its life over MQTT."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.errors import VerdigridError
from core.sites import Site
from core.timeaxis import parse
from sandbox import city, materialcache, state
from sandbox.citytime import CITY_START, LOCAL
from sandbox.world import World

HISTORY_DAYS = 28

app = typer.Typer(
    help="A simulated city, labelled as such, for newcomers, load tests and what-if.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

SeedOption = Annotated[int, typer.Option(help="One seed is one city.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps what is read out of SimBench, some 7 MB; it saves ten seconds. "
        "Default: the folder of the other file."
    ),
]


def _world(seed: int, cache: Path) -> tuple[World, Site]:
    source = materialcache.load(cache)
    site = city.build(source, seed)
    return World(source, site, seed), site


@app.command()
def history(
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    start: Annotated[
        str, typer.Option(help="ISO 8601 with zone; default 28 days before the city begins.")
    ] = (CITY_START - timedelta(days=HISTORY_DAYS)).astimezone(LOCAL).isoformat(),
    end: Annotated[
        str, typer.Option(help="ISO 8601 with zone; default the moment the city begins.")
    ] = CITY_START.astimezone(LOCAL).isoformat(),
    seed: SeedOption = 1,
    state_file: Annotated[
        Path | None,
        typer.Option("--state", help="Also write the city's state at the end, for `run --state`."),
    ] = None,
    cache: CacheOption = None,
) -> None:
    """Write everything metered from START to END to a Parquet file in long format.

    Columns: device, tag, unit, ts (beginning of the interval), value.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from sandbox import history as past

    first, last = parse(start), parse(end)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Simulated history", total=None)
        rows, present = past.write(
            _world(seed, cache or out.absolute().parent)[0],
            first,
            last,
            out,
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    if state_file is not None:
        state.save(state_file, present, seed)
    console.print(f"{rows} simulated readings are in {out}.")


@app.command()
def run(
    broker_port: Annotated[int, typer.Option(help="Port of the MQTT broker.")],
    origin_wall: Annotated[str, typer.Option(help="Wall time at which the city shows ...")],
    origin_city: Annotated[str, typer.Option(help="... this city time; both ISO 8601 with zone.")],
    state_file: Annotated[Path, typer.Option("--state", help="File that survives a restart.")],
    broker_host: Annotated[str, typer.Option(help="Host of the MQTT broker.")] = "127.0.0.1",
    pace: Annotated[float, typer.Option(help="City seconds in a second.")] = 60.0,
    seed: SeedOption = 1,
    until_city: Annotated[
        str | None, typer.Option(help="City time at which to end; default: never.")
    ] = None,
    with_noise: Annotated[
        bool,
        typer.Option(help="Send about one unreadable message and one unknown device a city hour."),
    ] = True,
    cache: CacheOption = None,
) -> None:
    """Live: publish what the devices measure, in city time, until SIGTERM or --until-city."""
    from core.clock import CityClock
    from sandbox import live

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    live.run(
        *_world(seed, cache or state_file.absolute().parent),
        live.Settings(
            host=broker_host,
            port=broker_port,
            clock=CityClock(parse(origin_wall), parse(origin_city), pace),
            state=state_file,
            seed=seed,
            until=None if until_city is None else parse(until_city),
            with_noise=with_noise,
        ),
    )


def main() -> None:
    """Runs the command; an error of ours is one sentence on stderr and exit code 1."""
    try:
        app()
    except VerdigridError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
