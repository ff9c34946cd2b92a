"""Reactive power of inverters and machines, and the envelope of what follows sun or wind."""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset
from grid.der import Conditions
from grid.der._inputs import drawn, optional, parameter
from grid.envelope import Envelope, Reactive


def reactive(asset: Asset, p_max_mw: float = 0.0) -> Reactive | None:
    """The reactive power that can be asked of ``asset``; None without sn_mva.

    Parameters: sn_mva, the rated apparent power, p_max_mw at least; q_max_mvar, the most either
    way, or cos_phi_min, the least displacement factor at rated power, so that
    |q| <= sn_mva * sqrt(1 - cos_phi_min^2) (grid codes name one: VDE-AR-N 4105:2018 has 0.90 above
    4.6 kVA). Both given, the smaller counts; neither, the whole circle. q_cny_per_mvarh (1).
    At part load cos_phi_min is this bound on q, not a triangle.
    """
    sn_mva = optional(asset, "sn_mva", above=0.0)
    q_max = optional(asset, "q_max_mvar", least=0.0)
    cos_phi = optional(asset, "cos_phi_min", above=0.0, most=1.0)
    price = parameter(asset, "q_cny_per_mvarh", 1.0, least=0.0)
    if sn_mva is None:
        if q_max is not None or cos_phi is not None:
            raise ConfigurationError(
                f"{asset.id} has q_max_mvar or cos_phi_min, but lacks the number sn_mva."
            )
        return None
    if sn_mva < p_max_mw - 1e-9:
        raise ConfigurationError(
            f"sn_mva of {asset.id} is {sn_mva:g}, below its active power of {p_max_mw:g} MW."
        )
    bounds = [sn_mva]
    if q_max is not None:
        bounds.append(q_max)
    if cos_phi is not None:
        bounds.append(sn_mva * float(np.sqrt(1.0 - cos_phi**2)))
    return Reactive(sn_mva=sn_mva, q_max_mvar=min(bounds), cny_per_mvarh=price)


def curtailable(asset: Asset, conditions: Conditions) -> Envelope:
    """What is available, or less; with sn_mva never more than the inverter passes.

    Profile: p_mw, what could be produced. Parameters: curtailment_cost_cny_per_mwh (0), owed for
    each MWh not produced, and those of ``reactive``.
    """
    q = reactive(asset)
    available = drawn(asset, "p_mw", conditions)
    if q is not None:
        available = np.minimum(available, q.sn_mva)
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=available,
        up_mw=np.zeros(conditions.steps),
        down_mw=available,
        down_cny_per_mwh=parameter(asset, "curtailment_cost_cny_per_mwh", 0.0, least=0.0),
        reactive=q,
    )
