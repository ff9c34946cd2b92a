"""Street lighting: dimmed in the small hours only, and not for too long."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ConfigurationError
from core.sites import AssetKind

HOURS = np.arange(48) % 24
NIGHT = np.where((HOURS >= 19) | (HOURS < 6), 0.2, 0.0)


def lighting(make, parameters=None, **given_):
    return make(AssetKind.STREET_LIGHTING, parameters, steps=48, p_mw=NIGHT, **given_)


def test_it_is_dimmed_to_its_share_in_its_hours(make, cheapest):
    made = lighting(make, {"dim_share_min": 0.3, "dim_from_hour": 22, "dim_to_hour": 4})
    plan = cheapest(made, 1.0, np.full(48, 300.0))
    small = (HOURS >= 22) | (HOURS < 4)
    np.testing.assert_allclose(plan.p_mw, np.where(small, 0.06, NIGHT), atol=1e-9)
    assert made.base_mw == pytest.approx(NIGHT)


def test_light_has_a_price(make, cheapest):
    dear = lighting(make, {"dimming_cny_per_mwh": 400.0})
    assert not cheapest(dear, 1.0, np.full(48, 300.0)).lowered.any()


def test_a_night_has_so_many_hours_over_midnight(make, cheapest):
    made = lighting(make, {"dim_hours_per_night": 2}, states={"activated_h": 1.5})
    plan = cheapest(made, 1.0, np.where(HOURS < 12, 300.0, 200.0))
    hours = plan.lowered / 0.1
    assert hours[:12].sum() == pytest.approx(0.5)  # the rest of the first night
    assert hours[12:36].sum() == pytest.approx(2.0)
    assert hours[24:36].sum() == pytest.approx(2.0)  # the dearer side of midnight
    assert hours[36:].sum() == pytest.approx(1.0)  # 23:00 to midnight of the third


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"dim_share_min": -0.1}, "dim_share_min of one is -0.1"),
        ({"dim_from_hour": 24.5}, "dim_from_hour of one is 24.5"),
        ({"dim_hours_per_night": "two"}, "dim_hours_per_night of one is 'two'"),
    ],
)
def test_what_makes_no_sense_is_named(make, parameters, says):
    with pytest.raises(ConfigurationError, match=says):
        lighting(make, parameters)
