"""``verdigrid grid``: network models in and out, checked, calculated, and asked what-if."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr

from app import settings
from app.commands.output import AsJson, emit, emit_json, emit_table
from app.progress import console
from app.wiring import load_site, open_database
from core.errors import ConfigurationError
from core.findings import Finding, errors
from grid import formats, hosting, limits, outages, powerflow, simbenchnet
from grid import network as network_model
from grid.network import Network

group = typer.Typer(help="Network models of the grid.", no_args_is_help=True)

Named = Annotated[
    str,
    typer.Argument(
        help="A file (.json and .xlsx of pandapower, .m and .mat of MATPOWER) or a SimBench code; "
        "the city's own network where none is named."
    ),
]
Lines = Annotated[list[int] | None, typer.Option("--line", help="A line out of service.")]
Trafos = Annotated[list[int] | None, typer.Option("--trafo", help="A transformer out of service.")]
Opened = Annotated[list[int] | None, typer.Option("--open", help="A switch to open.")]
Closed = Annotated[list[int] | None, typer.Option("--close", help="A switch to close.")]
LoadFactor = Annotated[
    float, typer.Option(min=0.0, help="All loads times this; their own values without it.")
]
SgenFactor = Annotated[float, typer.Option(min=0.0, help="All static generators times this.")]


@group.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="A file (.json, .xlsx, .m, .mat) or a SimBench code.")
    ],
    out: Annotated[
        Path, typer.Option(help="Where to write the network; .json is what `site load` takes.")
    ],
    as_json: AsJson = False,
) -> None:
    """Read a network, check it and write it in the format that the ending of --out names.

    Exit code 1 when the check has errors; the file is written all the same, to be mended.
    """
    network = _named(source)
    _write(out, formats.write(network, out.name))
    _report(f"{source} is written to {out}", network, as_json=as_json)


@group.command()
def export(
    out: Annotated[Path, typer.Argument(help="Where to write it: .json, .xlsx, .m or .mat.")],
) -> None:
    """Write the city's own network to a file."""
    _write(out, formats.write(_named(""), out.name))
    console.print(f"The network of the city is written to {out}.", markup=False)


@group.command()
def check(source: Named = "", as_json: AsJson = False) -> None:
    """Say what is wrong with a network, element by element; exit code 1 when there are errors."""
    _report(source or "The network of the city", _named(source), as_json=as_json)


@group.command()
def flow(
    source: Named = "",
    line: Lines = None,
    trafo: Trafos = None,
    opened: Opened = None,
    closed: Closed = None,
    load_factor: LoadFactor = 1.0,
    sgen_factor: SgenFactor = 1.0,
    as_json: AsJson = False,
) -> None:
    """Calculate one AC power flow, with outages if wanted; exit code 1 when limits are violated."""
    network, dark = outages.with_outages(
        _named(source),
        lines=line or (),
        trafos=trafo or (),
        open_switches=opened or (),
        close_switches=closed or (),
    )
    result = powerflow.run(network, _scaled(network, load_factor, sgen_factor))
    violated = limits.violations(network, result)
    given_up = limits.given_up(network, result)
    figures = _figures(network, result)
    if as_json:
        rows = {"dark": dark, "given_up": given_up, "violations": violated}
        emit_json({**figures, **{name: _rows(found) for name, found in rows.items()}})
    else:
        emit_table("Power flow", ("figure", "value"), list(figures.items()))
        _show("Dark", dark)
        _show("Voltages given up", given_up)
        _show("Limits violated", violated)
    if violated:
        sys.exit(1)


@group.command("n-1")
def n_1(
    source: Named = "",
    load_factor: LoadFactor = 1.0,
    sgen_factor: SgenFactor = 1.0,
    worst: Annotated[int, typer.Option(min=1, help="How many outages to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What each single outage of a line or transformer would do, the worst first."""
    network = _named(source)
    found = outages.n_1(network, _scaled(network, load_factor, sgen_factor))
    rows = [
        {
            "component": str(found["component"].values[i]),
            **{n: found[n].values[i].item() for n in ("element", *map(str, found.data_vars))},
        }
        for i in range(found.sizes["outage"])
    ]
    rows.sort(
        key=lambda row: (row["solved"], -row["dark_mw"], -_number(row["line_loading_percent"]))
    )
    shown = (
        "component",
        "element",
        "solved",
        "dark_mw",
        "dark_buses",
        "vm_min_pu",
        "vm_max_pu",
        "line_loading_percent",
        "line",
        "trafo_loading_percent",
    )
    emit("Single outages", rows[:worst], shown, as_json=as_json)


@group.command("hosting")
def hosting_(
    source: Named = "",
    bus: Annotated[
        list[int] | None, typer.Option(help="Only these buses; all where none is named.")
    ] = None,
    load: Annotated[
        bool, typer.Option("--load", help="How much load (chargers, heat pumps) instead of PV.")
    ] = False,
    max_mw: Annotated[float, typer.Option(min=0.0, help="Where the search ends, in MW.")] = 10.0,
    cos_phi: Annotated[float, typer.Option(help="Power factor of what is added.")] = 1.0,
    max_loading_percent: Annotated[
        float | None, typer.Option(help="A loading limit for all lines and transformers.")
    ] = None,
    load_factor: Annotated[
        list[float] | None,
        typer.Option(help="All loads times this, a scenario each; 1 where none is named."),
    ] = None,
    sgen_factor: SgenFactor = 1.0,
    as_json: AsJson = False,
) -> None:
    """The hosting capacity of every bus: how much more it takes before a limit breaks."""
    network = _named(source)
    scenarios = load_factor or [1.0]
    injections = xr.concat([_scaled(network, f, sgen_factor) for f in scenarios], "time")
    found = hosting.capacity(
        network,
        injections.assign_coords(time=np.arange(len(scenarios))),
        hosting.unit(np.ones(len(scenarios)), load=load, cos_phi=cos_phi),
        buses=None if bus is None else np.array(bus),
        max_mw=max_mw,
        max_loading_percent=max_loading_percent,
    )
    rows = [_hosted(found.isel(bus=i), scenarios, max_mw) for i in range(found.sizes["bus"])]
    emit("Hosting capacity", rows, tuple(rows[0]) if rows else (), as_json=as_json)


def _hosted(found: xr.Dataset, scenarios: list[float], max_mw: float) -> dict[str, Any]:
    """A row of the table; what has no element, side or scenario says nothing there."""
    element, step = int(found.element), int(found.step)
    capacity = float(found.capacity_mw)
    return {
        "bus": int(found.bus),
        "capacity_mw": None if np.isnan(capacity) else capacity,
        "limit": "search ends" if capacity >= max_mw else str(found.limit.item()),
        "element": element if element >= 0 else None,
        "side": {1: "upper", -1: "lower"}.get(int(found.side)),
        "load_factor": scenarios[step] if step >= 0 else None,
    }


def _named(source: str) -> Network:
    """The network of a file or code; without one that of the city."""
    if not source:
        with open_database(settings.load()) as database:
            text = load_site(database).network_json
        return network_model.read(text)
    path = Path(source)
    if simbenchnet.is_code(source) and not path.exists():
        return simbenchnet.network(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error}.") from error
    return formats.read(data, path.name)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be written: {error}.") from error


def _scaled(network: Network, load_factor: float, sgen_factor: float) -> xr.Dataset:
    """One step at the network's own powers, times a factor each."""
    columns = {
        f"{table}_{column}": (("time", table), factor * network.own_value(table, column)[None])
        for table, factor in (("load", load_factor), ("sgen", sgen_factor))
        for column in ("p_mw", "q_mvar")
    }
    now = datetime.now(UTC).replace(tzinfo=None)
    return xr.Dataset(columns, coords={"time": [np.datetime64(now, "ns")]})


def _figures(network: Network, result: xr.Dataset) -> dict[str, float | int]:
    vm = result["vm_pu"].values[0]
    figures: dict[str, float | int] = {
        "buses": len(vm),
        "dark_buses": int(np.isnan(vm).sum()),
        "vm_min_pu": float(np.nanmin(vm)),
        "vm_min_bus": int(network.buses[int(np.nanargmin(vm))]),
        "vm_max_pu": float(np.nanmax(vm)),
        "vm_max_bus": int(network.buses[int(np.nanargmax(vm))]),
    }
    for table in ("line", "trafo", "trafo3w"):
        loading = result[f"{table}_loading_percent"].values[0]
        if len(loading):
            figures[f"{table}_loading_percent"] = float(loading.max())
            figures[table] = int(network.ids(table)[int(loading.argmax())])
    for name in ("losses_mw", "import_mw", "export_mw", "q_exchange_mvar"):
        figures[name] = float(result[name].values[0])
    return figures


def _report(title: str, network: Network, *, as_json: bool) -> None:
    """Findings and what the network holds; exit code 1 when there are errors among them."""
    found = network_model.check(network)
    tables = ("bus", "line", "trafo", "load", "sgen", "storage")
    counts = {table: len(network.ids(table)) for table in tables}
    if as_json:
        emit_json({"elements": counts, "errors": len(errors(found)), "findings": _rows(found)})
    else:
        held = ", ".join(f"{count} {table}" for table, count in counts.items())
        console.print(f"{title}: {held}.", markup=False)
        _show("Findings", found)
    if errors(found):
        sys.exit(1)


def _rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "severity": str(f.severity),
            "component": f.component,
            "field": f.field,
            "ids": list(f.ids),
            "message": f.message,
        }
        for f in findings
    ]


def _show(title: str, findings: Sequence[Finding]) -> None:
    rows = [(str(f.severity), f.component, f.field, _ids(f), f.message) for f in findings]
    emit_table(title, ("severity", "component", "field", "ids", "message"), rows)


def _ids(finding: Finding) -> str:
    shown = ", ".join(map(str, finding.ids[:8]))
    return shown + (f" and {len(finding.ids) - 8} more" if len(finding.ids) > 8 else "")


def _number(value: float) -> float:
    return value if np.isfinite(value) else 0.0
