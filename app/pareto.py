"""A city's day for several weights of carbon and peak, each plan kept as a what-if run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app import askedsummary
from app.asked import Asked, wishes
from app.plankeeping import keep
from app.plankinds import WHAT_IF
from app.planning import Made
from app.wiring import City
from core.errors import ConfigurationError
from optimization.pareto import Point, sweep
from optimization.problem import DispatchProblem
from optimization.terms import PeakCharge
from store import runs

DAY_OF_A_MONTH = 1.0 / 30.0
AXES: Mapping[str, tuple[float, ...]] = {
    "carbon": (1.0, 3.0, 10.0),
    "peak": (0.0, DAY_OF_A_MONTH, 1.0),
}
"""Weights that are swept where none are named. Of the peak: free; its share of a month; as if this
day made the month's peak."""
COST = "cost"
MOST_RUNS = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """One run of a sweep: the weights, and what it comes to; see optimization.pareto.Point."""

    run_id: int
    carbon: float
    peak: float
    money_cny: float
    emissions_kgco2e: float
    peak_import_mw: float
    efficient: bool


def axes(text: str) -> dict[str, tuple[float, ...]]:
    """What is swept, out of such as ``cost,carbon,peak`` or ``carbon=1:5:20,peak=0:1``.

    Raises ConfigurationError for what is no axis and no weight.
    """
    found: dict[str, tuple[float, ...]] = {}
    for part in text.split(","):
        name, _, weights = part.strip().partition("=")
        if name == COST and not weights:
            continue
        if name not in AXES or name in found:
            raise ConfigurationError(
                f"{part!r} is nothing to sweep; there are {COST}, {' and '.join(AXES)}, each once."
            )
        try:
            found[name] = tuple(float(w) for w in weights.split(":")) if weights else AXES[name]
        except ValueError as error:
            raise ConfigurationError(
                f"{part!r} has a weight that is no number; write such as {name}=1:3:10."
            ) from error
        if not all(0 <= w < float("inf") for w in found[name]):
            raise ConfigurationError(f"The weights of {part!r} must not be below 0.")
    if not found:
        raise ConfigurationError(f"A sweep needs {' or '.join(AXES)} against the cost.")
    return found


def check(city: City, swept: Mapping[str, Sequence[float]]) -> None:
    """Raises ConfigurationError where a weight would say nothing, or there are too many runs."""
    wanted = wishes(city.site)
    if "peak" in swept and wanted.peak_cny_per_mw is None and wanted.peak_valley is None:
        raise ConfigurationError(
            "The peak costs nothing here; the city's parameter 'peak_cny_per_mw_month' says what."
        )
    if len(swept.get("carbon", (1,))) * len(swept.get("peak", (1,))) > MOST_RUNS:
        raise ConfigurationError(f"A sweep makes {MOST_RUNS} plans at most.")


def run(
    city: City,
    made: Made,
    swept: Mapping[str, Sequence[float]],
    known_at: datetime,
    progress: Callable[[str], None] | None = None,
) -> list[Swept]:
    """The day of ``made`` for every pair of weights; each run is kept beside it.

    With a peak the month's peak so far is left out: what a peak is worth is asked, which a month
    that has had a higher one does not tell.
    """
    problem, own = made.problem, made.problem.weights
    if "peak" in swept and problem.peak is not None:
        problem = replace(problem, peak=PeakCharge(problem.peak.cny_per_mw))
    points = sweep(
        problem,
        carbon=tuple(swept.get("carbon", (own.carbon,))),
        peak=tuple(swept.get("peak", (own.peak,))),
        progress=progress,
    )
    return [_kept(city, made.run_id, problem, point, swept, known_at) for point in points]


def _kept(
    city: City,
    base_run: int,
    problem: DispatchProblem,
    point: Point,
    swept: Mapping[str, Sequence[float]],
    known_at: datetime,
) -> Swept:
    problem = replace(problem, weights=point.weights)
    titles = {"carbon": ("carbon", "碳"), "peak": ("peak", "需量")}
    weights = {name: float(getattr(point.weights, name)) for name in titles}
    named = [(titles[n], f"{weights[n]:.3g}") for n in titles if n in swept]
    notes = {
        "what_if": {
            "base_run": base_run,
            "title_en": ", ".join(f"weight of {en} × {w}" for (en, _), w in named),
            "title_zh": "，".join(f"{zh}权重 × {w}" for (_, zh), w in named),
            "findings": [],
        },
        "pareto": {
            **weights,
            "money_cny": point.money_cny,
            "emissions_kgco2e": point.emissions_kgco2e,
            "peak_import_mw": point.peak_import_mw,
            "efficient": point.efficient,
        },
        "asked": askedsummary.told(problem, point.plan, Asked(peak_source="left out")),
    }
    with city.database.connection() as connection:
        run_id = runs.start(connection, WHAT_IF, "console", known_at)
        keep(connection, city, run_id, WHAT_IF, problem, point.plan, known_at, notes)
    return Swept(
        run_id,
        weights["carbon"],
        weights["peak"],
        point.money_cny,
        point.emissions_kgco2e,
        point.peak_import_mw,
        point.efficient,
    )
