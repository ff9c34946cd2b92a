"""PV and wind: less than what is available, never more, and reactive power in a circle."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ConfigurationError
from core.sites import AssetKind

HOURS = np.arange(24)
SUN = np.sin((HOURS - 6) / 12 * np.pi)  # negative at night, as a sensor's offset may be
BOTH = pytest.mark.parametrize("kind", [AssetKind.PV, AssetKind.WIND])


@BOTH
def test_what_is_available_can_be_curtailed_to_nothing(make, kind):
    made = make(kind, {"curtailment_cost_cny_per_mwh": 30.0}, p_mw=SUN)
    assert not made.p_min_mw.any()
    np.testing.assert_array_equal(made.p_max_mw, np.maximum(SUN, 0))
    assert made.account is None
    assert made.reactive is None
    assert set(made.down_cny_per_mwh) == {30.0}


@BOTH
def test_it_is_held_back_only_below_a_negative_price(make, cheapest, kind):
    made = make(kind, {"curtailment_cost_cny_per_mwh": 30.0}, p_mw=1.0)
    price = np.where(HOURS < 8, -40.0, np.where(HOURS < 16, -20.0, 100.0))
    plan = cheapest(made, 1.0, price)
    np.testing.assert_allclose(plan.p_mw, np.where(HOURS < 8, 0.0, 1.0), atol=1e-9)


@BOTH
def test_the_inverter_limits_both_powers(make, kind):
    made = make(kind, {"sn_mva": 0.8, "cos_phi_min": 0.9}, p_mw=SUN)
    assert made.p_max_mw.max() == pytest.approx(0.8)
    assert made.reactive.sn_mva == 0.8
    assert made.reactive.q_max_mvar == pytest.approx(0.8 * np.sin(np.arccos(0.9)))
    assert make(kind, {"sn_mva": 0.8}, p_mw=SUN).reactive.q_max_mvar == 0.8
    both = {"sn_mva": 0.8, "cos_phi_min": 0.9, "q_max_mvar": 0.1}
    assert make(kind, both, p_mw=SUN).reactive.q_max_mvar == 0.1


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"curtailment_cost_cny_per_mwh": -1}, "curtailment_cost_cny_per_mwh of one is -1"),
        ({"sn_mva": 0}, "sn_mva of one is 0, not above 0"),
        ({"sn_mva": 1, "cos_phi_min": 1.2}, "cos_phi_min of one is 1.2, not above 0 and 1 at most"),
        ({"q_max_mvar": 0.2}, "one has q_max_mvar or cos_phi_min, but lacks the number sn_mva"),
        ({"sn_mva": "big"}, "sn_mva of one is 'big', which is no number"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        make(AssetKind.PV, parameters, p_mw=SUN)
