"""``verdigrid site``: hand in the description of a city, look at it, take it out again."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app import keys, settings, usable
from app.auth import close_demo_accounts
from app.commands.output import AsJson, emit_json, emit_table
from app.progress import console
from app.wiring import load_site, open_database
from core.errors import ConfigurationError
from core.findings import errors
from core.sitetree import from_tree, to_tree
from grid import network as grid_network
from ingest import description
from store import devices, series, sites

group = typer.Typer(help="The description of the city.", no_args_is_help=True)


@group.command()
def load(
    file: Annotated[Path, typer.Argument(help="The city as JSON, as `site export` writes it.")],
    network: Annotated[
        Path | None,
        typer.Option(help="Its grid as pandapower JSON; without it the city keeps the one it has."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe the city of this database, in place of its earlier description.

    It is checked first; what cannot be used is named, and nothing is changed. Whatever runs
    takes it up within seconds.
    """
    network_json = _read(network) if network else ""
    findings = []
    behind: dict[str, int] = {}
    if network_json:
        findings = grid_network.check(grid_network.read(network_json))
    site = from_tree(_parse(file), network_json)
    description.check(site)
    grave = errors(findings)
    if not grave:
        with open_database(settings.load()) as database:
            with database.connection() as connection:
                if network is None:  # a new profile is no new grid
                    site = replace(site, network_json=sites.network(connection, site.id))
                usable.check(site)
                sites.save(connection, site)
                series.register(connection, [*site.series, *keys.total_series(site)])
                behind = devices.behind(connection, site.profiles)
            if not site.simulated:
                close_demo_accounts(database)
    if as_json:
        told = [str(f) for f in findings]
        emit_json({"site": site.id, "findings": told, "saved": not grave, "behind": behind})
    else:
        for finding in findings:
            console.print(str(finding), markup=False)
        console.print(
            f"{site.name_en} is described: {len(site.assets)} assets, {len(site.series)} series."
            if not grave
            else f"{network} cannot be used: {len(grave)} errors. Nothing was changed.",
            markup=False,
        )
        for profile, count in behind.items():
            console.print(
                f"{count} devices are registered by {profile!r} as it was before; `verdigrid "
                f"ingest register --profile {shlex.quote(profile)}` brings them up to it.",
                markup=False,
                soft_wrap=True,  # a command is copied whole
            )
    if grave:
        sys.exit(2)


@group.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write the description.")],
    network: Annotated[Path | None, typer.Option(help="Where to write its grid.")] = None,
) -> None:
    """Write the description of the city to a file."""
    with open_database(settings.load()) as database:
        site = load_site(database)
    _write(file, json.dumps(to_tree(site), ensure_ascii=False, indent=1))
    if network:
        _write(network, site.network_json)
    console.print(f"{site.name_en} is written to {file}.", markup=False)


@group.command()
def show(as_json: AsJson = False) -> None:
    """How many assets of which kind the city has."""
    with open_database(settings.load()) as database:
        site = load_site(database)
    counts: dict[str, int] = {}
    for asset in site.assets:
        counts[str(asset.kind)] = counts.get(str(asset.kind), 0) + 1
    if as_json:
        emit_json({"site": site.id, "simulated": site.simulated, "assets": counts})
    else:
        emit_table(f"{site.name_en} ({site.name_zh})", ("kind", "assets"), list(counts.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error}.") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be written: {error}.") from error


def _parse(path: Path) -> dict[str, object]:
    try:
        tree: dict[str, object] = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The file {path} is no JSON: {error}.") from error
    return tree
