"""What planning returns: status, schedule, key figures, reasons."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import xarray as xr

from core.errors import NotOptimalError
from core.findings import Finding, Severity


class Status(StrEnum):
    """How planning ended; only an optimal or relaxed plan has numbers.

    Relaxed: optimal after limits were opened that no schedule could keep; Plan.given has them.
    """

    OPTIMAL = "optimal"
    RELAXED = "relaxed"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    TIME_LIMIT = "time_limit"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """A day in numbers, all from AC power flows; money without the weights of the objective.

    cost_cny: energy bill at the substation (import cost minus export revenue). wear_cny: what
    lowering costs: cycling batteries, holding back. fuel_cny: what raising and running cost.
    start_cny: starts. carbon_cny: the carbon price on emissions_kgco2e, which are those of the
    imported energy and of fuel. peak_cny: peak charge and a missed peak-valley target.
    discomfort_cny: soft bounds of accounts broken and energy not served. breach_cny: missed
    calls, positions and reserves. reserve_cny: earned by reserve held. stored_cny: what accounts
    hold more at the end than at the beginning, at their end value. error_cny: what forecast errors
    are expected to add to the bill, its carbon price and the peak charge, where there is a spread.
    violations: (step, element) pairs beyond a limit of the network, plus steps beyond a limit of
    the exchange. stored_change_mwh: what the batteries hold more at the end than at the
    beginning; days compare fairly only where it is alike.
    """

    cost_cny: float
    wear_cny: float
    carbon_cny: float
    emissions_kgco2e: float
    import_mwh: float
    export_mwh: float
    peak_import_mw: float
    peak_export_mw: float
    losses_mwh: float
    curtailed_mwh: float
    stored_change_mwh: float
    vm_min_pu: float
    vm_max_pu: float
    max_line_loading_percent: float
    max_trafo_loading_percent: float
    violations: int
    fuel_cny: float = 0.0
    start_cny: float = 0.0
    peak_cny: float = 0.0
    discomfort_cny: float = 0.0
    breach_cny: float = 0.0
    reserve_cny: float = 0.0
    stored_cny: float = 0.0
    unserved_mwh: float = 0.0
    error_cny: float = 0.0

    @property
    def total_cny(self) -> float:
        """What the plan minimises where all weights are 1; tie-breaks and changes left out."""
        spent = self.cost_cny + self.wear_cny + self.fuel_cny + self.start_cny + self.carbon_cny
        missed = self.peak_cny + self.discomfort_cny + self.breach_cny
        return spent + missed + self.error_cny - self.reserve_cny - self.stored_cny


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a resource does what it does at one step; ``binding`` names what decides."""

    asset: str
    ts: datetime
    text_en: str
    text_zh: str
    binding: str


@dataclass(frozen=True, slots=True)
class Given:
    """A limit that gives: of which resource or element, by how much at most, when.

    start, end: of the stretch in which it does, UTC; amount in ``unit``. hard: it had to give for
    the day to have a plan at all; else the plan breaks it because nothing better was found.
    """

    component: str
    subject: str
    limit: str
    amount: float
    unit: str
    start: np.datetime64
    end: np.datetime64
    text_en: str
    text_zh: str
    hard: bool

    def finding(self) -> Finding:
        """The same as a finding."""
        severity = Severity.ERROR
        return Finding(self.component, self.limit, (self.subject,), self.text_en, severity)


@dataclass(frozen=True)
class Numbers:
    """What only an optimal plan has."""

    schedule: xr.Dataset
    ac: xr.Dataset
    planned: KeyFigures
    grounds: xr.Dataset


@dataclass(frozen=True)
class Plan:
    """The answer to a DispatchProblem.

    baseline, baseline_ac: the uncontrolled day. violations: what the plan could not hold (empty
    is the goal) or, for an infeasible problem, what conflicts. given: the same as limits that give,
    by how much and when. notes: what a reader should know.
    rounds: solves with an AC check each. build_s, solve_s: model building and solver time.
    """

    status: Status
    baseline: KeyFigures
    baseline_ac: xr.Dataset
    violations: list[Finding]
    rounds: int
    build_s: float
    solve_s: float
    numbers: Numbers | None = None
    reasons: list[Reason] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)

    @property
    def schedule(self) -> xr.Dataset:
        """p_mw and q_mvar (time, asset), positive producing for sgens, consuming or charging for
        the others; soc and content_mwh (time, asset) at the END of each step, NaN where there is
        none; local_cny_per_mwh (time, asset), what one more MWh drawn there costs;
        reserve_NAME_mw (time, asset) for each reserve; import_mw, export_mw and
        price_cny_per_mwh (time,), the marginal price at the substation.

        Raises NotOptimalError when the plan is not optimal; so do ``ac`` and ``planned``.
        """
        return self._numbers().schedule

    @property
    def ac(self) -> xr.Dataset:
        """The power flow of the plan, as grid.powerflow.run returns it."""
        return self._numbers().ac

    @property
    def planned(self) -> KeyFigures:
        """The planned day in numbers."""
        return self._numbers().planned

    @property
    def grounds(self) -> xr.Dataset:
        """What decides on every resource and step, as optimization.grounds.grounds returns it."""
        return self._numbers().grounds

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON values."""
        summary: dict[str, Any] = {
            "status": str(self.status),
            "rounds": self.rounds,
            "build_s": round(self.build_s, 3),
            "solve_s": round(self.solve_s, 3),
            "baseline": _figures(self.baseline),
            "planned": None,
            "savings": None,
            "violations": [str(f) for f in self.violations],
            "notes": [str(f) for f in self.notes],
            "given": [_told(g) for g in self.given],
            "reasons": [{**asdict(r), "ts": r.ts.isoformat()} for r in self.reasons],
        }
        if self.numbers is not None:
            before, after = _figures(self.baseline), _figures(self.numbers.planned)
            summary["planned"] = after
            summary["savings"] = {
                name: before[name] - after[name]
                for name in ("cost_cny", "total_cny", "emissions_kgco2e", "losses_mwh")
            }
        return summary

    def _numbers(self) -> Numbers:
        if self.numbers is None:
            raise NotOptimalError(f"The plan has no numbers: it ended as {self.status}.")
        return self.numbers


def _told(given: Given) -> dict[str, Any]:
    return {**asdict(given), "start": f"{given.start!s:.19}Z", "end": f"{given.end!s:.19}Z"}


def _figures(figures: KeyFigures) -> dict[str, Any]:
    return {**asdict(figures), "total_cny": figures.total_cny}
