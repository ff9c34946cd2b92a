"""Devices that a plan steers: what each is asked, what it answered, and whether it follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from core.sites import Asset
from core.timeaxis import floor_to
from dashboards.facts import CityFacts
from grid import tracking
from grid.tracking import Tolerance
from store import setpoints
from store.database import Connection

PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Steered:
    """A device with its newest set-point. MW in the sign of its element; NaN: free, not measured.

    asked_mw, measured_mw: of the newest interval that was measured. asked_mvar: now, NaN where
    nothing is asked. state: sent, overdue, accepted, refused or partly (accepted without the
    reactive power). off: whether it has been off its set-point for long.
    """

    asset: Asset
    asked_mw: float
    measured_mw: float
    off: bool
    state: str
    valid_until: datetime | None
    fallback_mw: float | None
    reason: str
    asked_mvar: float = float("nan")

    @property
    def difference_mw(self) -> float:
        """Measured less asked; NaN where either is missing."""
        return self.measured_mw - self.asked_mw

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return self.off or self.state in ("overdue", "refused", "partly")


@dataclass(frozen=True, slots=True)
class Steering:
    """All devices, troubled ones first; until when their set-points count, None without any."""

    devices: tuple[Steered, ...] = ()
    valid_until: datetime | None = None

    def count(self, state: str) -> int:
        """How many are in that state."""
        return sum(device.state == state for device in self.devices)

    @property
    def off(self) -> int:
        """How many do not follow."""
        return sum(device.off for device in self.devices)

    @property
    def well(self) -> int:
        """How many there is nothing to say about."""
        return sum(not device.troubled for device in self.devices)


def gather(connection: Connection, facts: CityFacts, now: datetime) -> Steering:
    """The steering of the city at ``now``; raises StoreError when the store cannot answer."""
    sent = {
        one.setpoint.asset: one
        for one in setpoints.newest(connection)
        if one.setpoint.asset in facts.assets
    }
    if not sent:
        return Steering()
    step, tolerance = facts.site.plan_resolution, Tolerance.of(facts.site.parameters)
    count, end = tolerance.steps(step) + 1, floor_to(now, step)
    starts = [end - (count - i) * step for i in range(count)]
    keys = {asset: facts.key(asset, "p_mw") for asset in sent}
    asked, measured = setpoints.against_measured(connection, keys, starts, step)
    assets = [facts.assets[asset] for asset in sent]
    excess = tracking.excess(asked, measured, np.array([a.kind in tracking.CAPPED for a in assets]))
    rated = np.array([tracking.rated_mw(a.parameters) for a in assets])
    off = tracking.off_track(excess, tolerance.allowed_mw(rated))
    row = np.where(np.isnan(measured[-1]), count - 2, count - 1)
    patience = timedelta(
        minutes=float(facts.site.parameters.get("acknowledge_minutes", PATIENCE.seconds / 60))
    )
    devices = [
        Steered(
            asset,
            float(asked[row[i], i]),
            float(measured[row[i], i]),
            bool(off[i]),
            _state(sent[asset.id], patience, now),
            sent[asset.id].setpoint.valid_until,
            sent[asset.id].setpoint.fallback_mw,
            sent[asset.id].reason,
            _asked_mvar(sent[asset.id], now),
        )
        for i, asset in enumerate(assets)
    ]
    until = [d.valid_until for d in devices if d.valid_until is not None]
    return Steering(
        tuple(sorted(devices, key=lambda d: (not d.troubled, d.asset.id))), max(until, default=None)
    )


def _asked_mvar(sent: setpoints.Sent, now: datetime) -> float:
    q_mvar = sent.setpoint.q_at(now)
    return float("nan") if q_mvar is None else q_mvar


def _state(sent: setpoints.Sent, patience: timedelta, now: datetime) -> str:
    if sent.answered:
        return "partly" if sent.q_refused and sent.status == "accepted" else sent.status
    return "overdue" if sent.issued_at + patience <= now else "sent"
