"""Street lighting: on by its schedule, and dimmable in the small hours."""

from __future__ import annotations

import numpy as np

from core.sites import Asset, AssetKind
from grid.der import Conditions
from grid.der._accounts import daily_hours
from grid.der._inputs import HOURS_PER_DAY, drawn, optional, parameter, state, within_hours
from grid.envelope import Envelope

KIND = AssetKind.STREET_LIGHTING
PROFILES = ("p_mw",)
STATES = ("activated_h",)

_NOON = 12.0


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """The scheduled draw, less what is dimmed of it in the hours in which that is allowed.

    Profile: p_mw, the draw at full light, by sun or clock as the lighting is run (0 by day); with
    p_max_mw, the draw of all its lamps at full light, it may be one that was measured while they
    were dimmed: in the hours in which that is allowed, lamps that draw at least half of the least
    share are taken to be lit, and full light for p_max_mw. Without it each night's dimming, learnt
    as the draw, would be dimmed once more in the next.
    Parameters: dim_share_min (0.5), the least share of the full draw; dim_from_hour (23) and
    dim_to_hour (5), the local hours; dimming_cny_per_mwh (0), what a MWh less of light is taken to
    cost; dim_hours_per_night (none), at most so many hours at the least share, noon to noon (an
    hour half way down counts half). Which share a road may have is the lighting class's matter
    (EN 13201-2, CJJ 45).
    State: activated_h, hours already dimmed in this night (0).
    """
    demand = drawn(asset, "p_mw", conditions)
    full = optional(asset, "p_max_mw", above=0.0)
    share = parameter(asset, "dim_share_min", 0.5, least=0.0, most=1.0)
    from_hour = parameter(asset, "dim_from_hour", 23.0, least=0.0, most=HOURS_PER_DAY)
    to_hour = parameter(asset, "dim_to_hour", 5.0, least=0.0, most=HOURS_PER_DAY)
    allowed = within_hours(conditions, from_hour, to_hour)
    if full is not None:
        allowed &= (demand > 0.0) & (demand >= 0.5 * share * full)  # forecasts blur dusk and dawn
        demand = np.where(allowed, np.maximum(demand, full), demand)
    down = np.where(allowed, (1.0 - share) * demand, 0.0)
    hours = optional(asset, "dim_hours_per_night", least=0.0)
    used = state(asset, "activated_h", conditions, least=0.0) or 0.0
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=demand,
        up_mw=np.zeros(conditions.steps),
        down_mw=down,
        down_cny_per_mwh=parameter(asset, "dimming_cny_per_mwh", 0.0, least=0.0),
        account=None if hours is None else daily_hours(conditions, down, hours, used, _NOON),
    )
