"""Heat pumps: the building is the store, between the temperatures its people accept.

One zone with a heat capacity C behind a conductance UA (ISO 13790's simple hourly method has the
same capacity, with three nodes):

    C dT/dt = UA (T_out - T) + Q_gains + COP p

With all that acts on it constant over a step of length dt its solution is exact,

    T[t] = a T[t-1] + (1 - a) (T_out + (Q_gains + COP p) / UA),        a = exp(-UA dt / C),

and the content of the account is C (T - T_ref), MWh, which ``temp_indoor_degc`` turns back.
"""

from __future__ import annotations

import numpy as np

from core.errors import ConfigurationError
from core.sites import Asset, AssetKind
from core.units import convert
from grid.der import Conditions
from grid.der._accounts import ordered
from grid.der._inputs import by_hour, optional, parameter, profile, state
from grid.der._switching import STATES as SWITCHING_STATES
from grid.der._switching import commitment
from grid.envelope import EnergyAccount, Envelope

KIND = AssetKind.HEAT_PUMP
PROFILES = ("temp_air", "ghi")
STATES = ("temp_indoor", *SWITCHING_STATES)

TEMP_REFERENCE_DEGC = "temp_reference_degc"
C_MWH_PER_K = "c_mwh_per_k"

_DISCOMFORT_CNY_PER_MWH = 5000.0
"""Default, for each MWh that the building lacks and hour: more than that heat can cost within a
quarter-hour, so that not even the last step before the end of a horizon is worth a cold room."""


def envelope(asset: Asset, conditions: Conditions) -> Envelope:
    """Power up to p_max_mw, indoor temperature within its band, or outside at a price.

    Profiles: temp_air (degC); ghi (W/m2) with solar_area_m2. State: temp_indoor (the middle of the
    band), and those of switching.
    Parameters: p_max_mw (electrical), p_min_mw (0; the least while on); ua_mw_per_k; c_mwh_per_k,
    or time_constant_h = C / UA; temp_min_degc (20, the least for heating in dwellings of EN
    16798-1:2019, annex B, category II) and temp_max_degc (24, the upper bound of the design
    temperatures of GB 50736-2012, 3.0.1, 18 to 24 in cold regions), both by works that quote the
    standards, not by the standards; numbers or 24 by local hour; of the hour in which a step
    begins, held at its end. discomfort_cny_per_k_h, for each kelvin outside and hour
    (5000 * c_mwh_per_k: no saving is worth it). internal_gain_mw (0), a number or 24;
    solar_area_m2 (0), the area that would let in what ghi brings. end_cny_per_mwh (0), worth of
    the heat in the building at the end.
    COP: cop; or cop_carnot_share with flow_temp_degc; or neither, see ``cop``.
    It heats only: warmth that comes by itself is no discomfort, so that the upper bound gives way
    to the temperature that the building would have without any heating.
    """
    steps, dt_h = conditions.steps, conditions.dt_h
    power = parameter(asset, "p_max_mw", above=0.0)
    p_min = parameter(asset, "p_min_mw", 0.0, least=0.0)
    ordered(asset, "p_min_mw", p_min, "p_max_mw", power)
    ua = parameter(asset, "ua_mw_per_k", above=0.0)
    capacity = _capacity(asset, ua)
    low = by_hour(asset, "temp_min_degc", conditions, 20.0)
    high = by_hour(asset, "temp_max_degc", conditions, 24.0)
    for t in np.flatnonzero(low > high)[:1]:
        ordered(asset, "temp_min_degc", low[t], "temp_max_degc", high[t])
    outdoor = profile(asset, "temp_air", conditions)
    start = state(asset, "temp_indoor", conditions, least=-40.0, most=60.0)
    start = 0.5 * (low[0] + high[0]) if start is None else start
    reference = float(low.min())
    kept = float(np.exp(-ua * dt_h / capacity))
    inflow = (1.0 - kept) * capacity * (outdoor - reference + _gains(asset, conditions) / ua)
    initial = capacity * (start - reference)
    discomfort = parameter(
        asset, "discomfort_cny_per_k_h", _DISCOMFORT_CNY_PER_MWH * capacity, least=0.0
    )
    return Envelope(
        asset=asset.id,
        kind=asset.kind,
        element=asset.element,
        element_index=asset.element_index,
        base_mw=np.zeros(steps),
        up_mw=np.full(steps, power),
        down_mw=np.zeros(steps),
        account=EnergyAccount(
            initial_mwh=initial,
            min_mwh=capacity * (low - reference),
            max_mwh=np.maximum(capacity * (high - reference), _unheated(initial, kept, inflow)),
            gain_up=_cop(asset, outdoor) * (1.0 - kept) * capacity / (ua * dt_h),
            gain_down=np.zeros(steps),
            keep=np.full(steps, kept),
            inflow_mwh=inflow,
            carrier="heat",
            end_cny_per_mwh=parameter(asset, "end_cny_per_mwh", 0.0, least=0.0),
            breach_cny_per_mwh=discomfort / capacity,
        ),
        commitment=commitment(asset, conditions, p_min),
        soft_kind="comfort",
        settings={TEMP_REFERENCE_DEGC: reference, C_MWH_PER_K: capacity},
    )


def temp_indoor_degc(envelope: Envelope, content_mwh: np.ndarray) -> np.ndarray:
    """The indoor temperature, degC, of a content of a heat pump's account, MWh."""
    settings = envelope.settings
    return np.asarray(settings[TEMP_REFERENCE_DEGC] + content_mwh / settings[C_MWH_PER_K])


def cop(source_degc: np.ndarray, flow_degc: float, *, ground: bool = False) -> np.ndarray:
    """Coefficient of performance of a heat pump of today, from field and laboratory data.

    source_degc: of the outdoor air, or of the ground with ``ground``; flow_degc: of the heating
    water; d, the difference, is held within what the fits were made of:
        air     6.81 - 0.121 d + 0.000630 d^2        15 <= d <= 60
        ground  8.77 - 0.150 d + 0.000734 d^2        20 <= d <= 60
    Staffell et al., "A review of domestic heat pumps", Energy & Environmental Science 5, 2012,
    doi 10.1039/C2EE22653G.
    """
    if ground:
        lift = np.clip(flow_degc - source_degc, 20.0, 60.0)
        return np.asarray(8.77 - 0.150 * lift + 0.000734 * lift**2)
    lift = np.clip(flow_degc - source_degc, 15.0, 60.0)
    return np.asarray(6.81 - 0.121 * lift + 0.000630 * lift**2)


def carnot_cop(source_degc: np.ndarray, flow_degc: float, share: float) -> np.ndarray:
    """``share`` of the best that physics allows, T_flow / (T_flow - T_source) in kelvin.

    The lift is 5 K at least: heat exchangers need some of it also where the source is warm.
    """
    lift = np.maximum(flow_degc - source_degc, 5.0)
    return np.asarray(share * convert(flow_degc, "degC", "K") / lift)


def _cop(asset: Asset, outdoor_degc: np.ndarray) -> np.ndarray:
    fixed = optional(asset, "cop", above=0.0)
    share = optional(asset, "cop_carnot_share", above=0.0, most=1.0)
    ground = optional(asset, "ground_temp_degc", least=-20.0, most=40.0)
    flow = parameter(asset, "flow_temp_degc", 40.0, least=20.0, most=90.0)
    if fixed is not None:
        if share is not None:
            raise ConfigurationError(f"{asset.id} has cop and cop_carnot_share; give one of them.")
        return np.full(outdoor_degc.shape, fixed)
    source = outdoor_degc if ground is None else np.full(outdoor_degc.shape, ground)
    if share is not None:
        return carnot_cop(source, flow, share)
    return cop(source, flow, ground=ground is not None)


def _capacity(asset: Asset, ua_mw_per_k: float) -> float:
    capacity = optional(asset, "c_mwh_per_k", above=0.0)
    hours = optional(asset, "time_constant_h", above=0.0)
    if (capacity is None) == (hours is None):
        raise ConfigurationError(f"{asset.id} needs one of c_mwh_per_k and time_constant_h.")
    return capacity if capacity is not None else ua_mw_per_k * (hours or 0.0)


def _gains(asset: Asset, conditions: Conditions) -> np.ndarray:
    area = parameter(asset, "solar_area_m2", 0.0, least=0.0)
    gains = by_hour(asset, "internal_gain_mw", conditions, 0.0)
    if area:
        gains = gains + convert(area * profile(asset, "ghi", conditions), "W", "MW")
    return gains


def _unheated(initial: float, kept: float, inflow: np.ndarray) -> np.ndarray:
    content, path = initial, np.empty_like(inflow)
    for t, gained in enumerate(inflow):
        content = kept * content + gained
        path[t] = content
    return path
