"""Runs on a copy of the city: what to change, and the plan of it beside the one it starts from."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.plankeeping import note_failure
from app.plankinds import INTRADAY, WHAT_IF
from app.planning import Horizon, Made, network_of, run_plan
from app.wiring import City
from core.errors import ConfigurationError, StoreError, VerdigridError
from core.findings import Finding
from core.sites import Asset, AssetKind
from core.timeaxis import from_datetime64
from core.whatif import Changes
from grid import der
from grid.der import Conditions
from grid.extension import with_storage
from grid.network import Network
from grid.outages import with_outages
from optimization import whatif
from optimization.problem import DispatchProblem
from store import runs

log = logging.getLogger(__name__)

HOUR_COLUMN, IMPORT_COLUMN, EXPORT_COLUMN = "hour", "import_cny_per_mwh", "export_cny_per_mwh"
NEW_BATTERY = "what-if-battery"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different: how, and in words. findings: what a reader should know of it."""

    apply: Callable[[DispatchProblem], DispatchProblem]
    text_en: str
    text_zh: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A what-if run, and the one it starts from."""

    base: runs.Run
    made: Made


def changes_of(network: Network, asked: Changes) -> list[Change]:
    """What ``asked`` does; raises NetworkError for an element that ``network`` does not have."""
    found = []
    if asked.tariff_factor is not None:
        found.append(tariff_factor(asked.tariff_factor))
    if asked.carbon_cny_per_tco2e is not None:
        found.append(carbon(asked.carbon_cny_per_tco2e))
    if asked.pv_factor is not None:
        found.append(growth(AssetKind.PV, asked.pv_factor, "PV", "光伏"))
    if asked.ev_factor is not None:
        found.append(growth(AssetKind.EV_CHARGER, asked.ev_factor, "EV charging", "电动汽车充电"))
    if asked.lines or asked.trafos or asked.open_switches or asked.close_switches:
        found.append(
            outage(
                network,
                lines=asked.lines,
                trafos=asked.trafos,
                open_switches=asked.open_switches,
                close_switches=asked.close_switches,
            )
        )
    return found


def tariff_factor(factor: float) -> Change:
    """The import tariff times ``factor``."""
    return Change(
        lambda problem: whatif.tariff_times(problem, import_factor=factor),
        f"import tariff × {factor:g}",
        f"购电电价 × {factor:g}",
    )


def tariff_file(path: Path) -> Change:
    """A tariff by local hour out of a CSV file with the columns hour, import_cny_per_mwh and, if
    it changes, export_cny_per_mwh; 24 rows. Raises ConfigurationError naming what is wrong.
    """
    columns = _hourly(path)
    bought, sold = columns[IMPORT_COLUMN], columns.get(EXPORT_COLUMN)
    return Change(
        lambda problem: whatif.tariff_by_hour(problem, bought, sold),
        f"tariff of {path.name}",
        f"电价取自 {path.name}",
    )


def _hourly(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            rows = list(csv.DictReader(source))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"The tariff {path} cannot be read: {error}.") from error
    names = [IMPORT_COLUMN, *([EXPORT_COLUMN] if rows and EXPORT_COLUMN in rows[0] else [])]
    found = {name: np.full(whatif.HOURS, np.nan) for name in names}
    for number, row in enumerate(rows, start=2):
        try:
            hour = int(row[HOUR_COLUMN])
            if not 0 <= hour < whatif.HOURS or not np.isnan(found[IMPORT_COLUMN][hour]):
                raise ValueError(f"the hour {hour} is none, or stands twice")
            for name in names:
                found[name][hour] = float(row[name])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"Line {number} of {path.name} is no hour of a tariff with the columns hour, "
                f"{IMPORT_COLUMN} and perhaps {EXPORT_COLUMN}: {error}."
            ) from error
    missing = [str(h) for h in range(whatif.HOURS) if np.isnan(found[IMPORT_COLUMN][h])]
    if missing:
        raise ConfigurationError(f"The tariff {path.name} lacks the hours {', '.join(missing)}.")
    return found


def carbon(cny_per_tco2e: float) -> Change:
    """Another carbon price."""
    return Change(
        lambda problem: whatif.carbon_price(problem, cny_per_tco2e),
        f"carbon at {cny_per_tco2e:g} CNY/t",
        f"碳价 {cny_per_tco2e:g} 元/吨",
    )


def growth(kind: AssetKind, factor: float, name_en: str, name_zh: str) -> Change:
    """``factor`` times as much of ``kind``."""
    return Change(
        lambda problem: whatif.grown(problem, (kind,), factor),
        f"{name_en} × {factor:g}",
        f"{name_zh} × {factor:g}",
    )


def outage(
    network: Network,
    *,
    lines: Sequence[int] = (),
    trafos: Sequence[int] = (),
    open_switches: Sequence[int] = (),
    close_switches: Sequence[int] = (),
) -> Change:
    """Elements out of service and switches turned; to be the first of changes to the grid.

    Raises NetworkError for an element that the network does not have.
    """
    changed, findings = with_outages(
        network,
        lines=lines,
        trafos=trafos,
        open_switches=open_switches,
        close_switches=close_switches,
    )
    parts = (
        ("without line", "停运线路", lines),
        ("without transformer", "停运变压器", trafos),
        ("switch open", "断开开关", open_switches),
        ("switch closed", "合上开关", close_switches),
    )
    named = [(en, zh, ", ".join(map(str, ids))) for en, zh, ids in parts if ids]
    return Change(
        lambda problem: whatif.on_network(problem, changed),
        ", ".join(f"{en} {ids}" for en, _, ids in named),
        "，".join(f"{zh} {ids}" for _, zh, ids in named),
        tuple(findings),
    )


def battery(bus: int, p_max_mw: float, e_max_mwh: float) -> Change:
    """A battery more, at ``bus`` of the network, half full at the beginning."""

    def add(problem: DispatchProblem) -> DispatchProblem:
        network, index = with_storage(problem.network, bus)
        asset = Asset(
            NEW_BATTERY,
            AssetKind.BATTERY,
            "New battery",
            "新增储能",
            element="storage",
            element_index=index,
            parameters={"p_max_mw": p_max_mw, "e_max_mwh": e_max_mwh},
        )
        envelope = der.envelope_of(asset, Conditions(problem.times, problem.dt_h, problem.timezone))
        return whatif.with_resource(problem, network, envelope)

    return Change(
        add,
        f"battery of {p_max_mw:g} MW, {e_max_mwh:g} MWh at bus {bus}",
        f"母线 {bus} 新增储能 {p_max_mw:g} MW、{e_max_mwh:g} MWh",
    )


def run(
    city: City,
    network: Network,
    changes: Sequence[Change],
    *,
    base_run: int | None = None,
    request: runs.Run | None = None,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Plan the horizon of ``base_run`` (by default of the plan in force) with ``changes``.

    Everything that was known when the base was made is known, and nothing more: the two differ by
    the changes alone. request: the run that was asked for and will hold the plan; None begins one
    in the name of the console. Raises ConfigurationError without a change or a base, StoreError.
    """
    if not changes:
        raise ConfigurationError("A what-if run needs something that is different; see --help.")
    base, horizon = _base(city, base_run)

    def change(problem: DispatchProblem) -> DispatchProblem:
        for one in changes:
            problem = one.apply(problem)
        return problem

    notes = {
        "what_if": {
            "base_run": base.id,
            "title_en": ", ".join(one.text_en for one in changes),
            "title_zh": "，".join(one.text_zh for one in changes),
            "findings": [str(finding) for one in changes for finding in one.findings],
            # Who asked has named elements as people know them.
            **_noted(request),
        }
    }
    made = run_plan(
        city,
        network,
        horizon,
        kind=WHAT_IF,
        requested_by=request.requested_by if request else "console",
        run_id=request.id if request else None,
        progress=progress,
        change=change,
        notes=notes,
        like=base.kind,
    )
    return Outcome(base, made)


def requested(city: City) -> None:
    """Make the what-if runs that people have asked for, oldest first; each fails for itself.

    One is taken at a time: of the others everybody sees that they wait. Nothing here is shared with
    the plans that devices follow, so that both can be made at once.
    """
    while True:
        with city.database.connection() as connection:
            taken = runs.take_requested(connection, WHAT_IF, limit=1)
        if not taken:
            return
        (request,) = taken
        try:
            asked = Changes.of(_noted(request).get("asked", {}))
            network = network_of(city)
            run(city, network, changes_of(network, asked), request=request)
        except Exception as error:
            note_failure(city, request.id, error)
            if not isinstance(error, VerdigridError):
                raise
            log.warning("what-if run failed", extra={"run": request.id, "reason": str(error)})


def _noted(request: runs.Run | None) -> dict[str, Any]:
    return dict(request.summary.get("what_if") or {}) if request else {}


def _base(city: City, run_id: int | None) -> tuple[runs.Run, Horizon]:
    with city.database.connection() as connection:
        base = (
            runs.latest(connection, INTRADAY) if run_id is None else runs.by_id(connection, run_id)
        )
        if base is None:
            wanted = "no plan yet" if run_id is None else f"no run {run_id}"
            raise ConfigurationError(f"There is {wanted} to start from.")
        if not base.summary.get("planned"):
            raise ConfigurationError(f"Run {base.id} has no figures: it is {base.state}.")
        try:
            times = runs.schedule(connection, base.id)["time"].to_numpy()
        except StoreError as error:
            raise ConfigurationError(f"Run {base.id} cannot be started from: {error}") from error
    step = np.timedelta64(city.site.plan_resolution)
    end = from_datetime64(times[-1] + step)
    return base, Horizon(from_datetime64(times[0]), end, min(base.city_at, end))
