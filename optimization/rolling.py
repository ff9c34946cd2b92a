"""Plans that follow each other: each begins where the one before stands, and is found from there.

A re-plan takes over the exchange tangents, the network rows and the basis of the plan before,
moved in time. What has happened since comes in as the new problem: measured contents, states and
forecasts in its envelopes and injections. What is committed stays by the ChangeCost that
``following`` makes of the plan before, or of another that is in force instead (``Rolling.follow``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from optimization.planner import plan
from optimization.problem import DispatchProblem
from optimization.result import Plan, Status
from optimization.session import Session
from optimization.terms import ChangeCost

CHANGE_CNY_PER_MWH = 2.0
"""A small price on leaving the plan before: enough against chatter, below what moves money."""


@dataclass(eq=False)
class Rolling:
    """Plans one horizon after the other; used by one thread at a time.

    change_cny_per_mwh: price on leaving the plan before; 0 for none. change_h: for how many hours
    from the beginning; what lies later is planned again before anybody acts on it. held_steps: how
    many of the first steps are committed already and stay as the plan before has them.
    """

    change_cny_per_mwh: float = CHANGE_CNY_PER_MWH
    change_h: float = 1.0
    held_steps: int = 0
    _session: Session | None = None
    _schedule: xr.Dataset | None = None

    def follow(self, schedule: xr.Dataset | None) -> None:
        """Let the next plan leave ``schedule`` at a price, instead of the plan before.

        For plans that somebody may refuse: what counts is the one that devices follow; None where
        they follow none. schedule: p_mw over (time, asset), NaN where it says nothing.
        """
        self._schedule = schedule

    def plan(
        self,
        problem: DispatchProblem,
        *,
        progress: Callable[[str], None] | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> Plan:
        """The plan of ``problem``, from the plan before where there is one that fits.

        A horizon that lies before the last one, or has steps of another length, is planned anew.
        Raises as planner.plan does.
        """
        if self._schedule is not None and problem.change is None:
            problem = following(
                problem,
                self._schedule,
                self.change_cny_per_mwh,
                change_h=self.change_h,
                held_steps=self.held_steps,
            )
        start = timer()
        session = self._moved_to(problem)
        moved_s = timer() - start
        self._session = None  # until this plan is there: its rows may come to nothing
        found = plan(problem, session=session, progress=progress, timer=timer)
        if found.status is Status.OPTIMAL:
            self._session, self._schedule = session, found.schedule
        return replace(found, build_s=found.build_s + moved_s)

    def _moved_to(self, problem: DispatchProblem) -> Session:
        if self._session is not None:
            try:
                self._session.roll(problem)
            except ConfigurationError:
                self._session = None
        return self._session or Session(problem)


def following(
    problem: DispatchProblem,
    before: xr.Dataset,
    cny_per_mwh: float,
    *,
    change_h: float = float("inf"),
    held_steps: int = 0,
) -> DispatchProblem:
    """``problem`` with a price on leaving ``before``, the schedule of an earlier plan.

    change_h: hours from the beginning for which it costs something. held_steps: first steps that
    stay as they were as far as the resources allow.
    """
    if cny_per_mwh <= 0 and held_steps == 0:
        return problem
    assets = [e.asset for e in problem.envelopes]
    aligned = before["p_mw"].reindex(time=problem.times, asset=assets).transpose("time", "asset")
    step = np.arange(problem.steps)
    held = step < held_steps
    priced = (step * problem.dt_h < change_h) & (cny_per_mwh > 0)
    p_mw = np.where((held | priced)[:, None], aligned.to_numpy(), np.nan)
    return replace(problem, change=ChangeCost(p_mw, max(cny_per_mwh, 0.0), held))
