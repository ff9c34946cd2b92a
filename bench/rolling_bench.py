"""Two weeks of 1-MV-semiurb--2-sw, winter and summer, planned again and again from forecasts.

Every quarter-hour a plan for a day ahead is made from measured states and from forecasts that look
at nothing later (bench/rolling/foresight.py), and the devices do its first step; what differs from
the plan goes to the substation. It is compared with nobody controlling anything and with one plan
for the whole week that knew everything. The same rows come out of every run but for the seconds.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from bench.rolling.simulate import Result, simulate
from bench.rolling.window import Period
from bench.rolling.year import STEPS_PER_DAY, load
from optimization.rolling import Rolling

WORTH_A_SHARE_CNY = 100.0
FIRST_DAY = {"winter": 38, "summer": 171}
"""Mondays: 8 February and 20 June 2016."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """How long and how often; what is not said is what docs/benchmarks.md shows."""
    parser.add_argument("--days", type=int, default=7, help="of each season, from a Monday on")
    parser.add_argument("--every", type=int, default=15, help="minutes between plans")
    parser.add_argument("--horizon", type=int, default=24, help="hours that a plan looks ahead")
    parser.add_argument("--plain", action="store_true", help="plan on the expected course alone")
    parser.add_argument("--season", choices=[*FIRST_DAY, "both"], default="both")


def rows(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Figures of each season; two processes where there are two."""
    seasons = list(FIRST_DAY) if asked.season == "both" else [asked.season]
    jobs = [(s, asked.days, asked.every, asked.horizon, asked.plain) for s in seasons]
    with ProcessPoolExecutor(len(jobs), mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_run, jobs))
    told = [row for job, result in zip(jobs, results, strict=True) for row in _told(job, result)]
    return [*told, _captured(jobs, results)]


Job = tuple[str, int, int, int, bool]


def _run(job: Job) -> Result:
    season, days, every, horizon, plain = job
    first = FIRST_DAY[season] * STEPS_PER_DAY

    def tell(sentence: str) -> None:
        print(f"{season}: {sentence}", file=sys.stderr, flush=True)

    return simulate(
        load(),
        Period(first, first + days * STEPS_PER_DAY),
        every=every // 15,
        horizon=horizon * 4,
        planner=Rolling().plan,
        expected=not plain,
        tell=tell,
    )


_FIGURES = {
    "total_cny": ("bill, peak charge, wear and carbon", "CNY"),
    "cost_cny": ("bill at the substation", "CNY"),
    "peak_cny": ("peak charge", "CNY"),
    "peak_valley_mw": ("peak-valley difference, mean of the days", "MW"),
    "renewable_share": ("renewable share of supply", "1"),
    "losses_mwh": ("losses", "MWh"),
    "emissions_tco2e": ("emissions", "tCO2e"),
    "curtailed_mwh": ("curtailed", "MWh"),
    "violations": ("violations of network and exchange limits", "steps x elements"),
}


def _told(job: Job, result: Result) -> list[dict[str, Any]]:
    season, days, every, horizon, _ = job
    title = f"rolling, {season}, {days} days"
    told = []
    for name, (what, unit) in _FIGURES.items():
        ours, idle = getattr(result.rolling, name), getattr(result.uncontrolled, name)
        told.append(
            {
                "figure": f"{title}: {what}",
                "ours": ours,
                "reference": idle,
                "ratio": ours / idle if idle else None,
                "unit": unit,
                "note": f"reference: no control; perfect foresight: "
                f"{_short(getattr(result.perfect, name))}",
            }
        )
    told.append(
        {
            "figure": f"{title}: saved against no control",
            "ours": result.saved_cny,
            "reference": result.possible_cny,
            "ratio": _share(result.saved_cny, result.possible_cny),
            "unit": "CNY",
            "note": f"reference: perfect foresight; {result.plans} plans, one in {every} minutes, "
            f"for {horizon} h, {result.failed} failed, {result.rolling.unserved_mwh:.3f} MWh of "
            "demand unserved",
        }
    )
    told.append(
        {
            "figure": f"{title}: one re-plan",
            "ours": result.plan_s,
            "reference": result.forecast_s,
            "ratio": result.plan_s / result.forecast_s,
            "unit": "s",
            "note": "median; reference: the forecasts it is made from",
        }
    )
    return told


def _captured(jobs: list[Job], results: list[Result]) -> dict[str, Any]:
    """The figure that decides whether a change is good."""
    saved = sum(r.saved_cny for r in results)
    possible = sum(r.possible_cny for r in results)
    share = _share(saved, possible)
    seasons = " and ".join(job[0] for job in jobs)
    return {
        "figure": f"rolling, {seasons}, {jobs[0][1]} days each: value captured",
        "ours": share,
        "reference": 1.0,
        "ratio": share,
        "unit": "1",
        "note": "(no control - ours) / (no control - perfect foresight), of all costs",
    }


def _share(saved: float, possible: float) -> float | None:
    """None where foresight is worth next to nothing: a share of it would say nothing."""
    return saved / possible if possible > WORTH_A_SHARE_CNY else None


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
