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


def test_a_draw_measured_while_dimmed_is_not_dimmed_once_more(make, cheapest):
    """What was dimmed last week is this week's forecast; the least light stays what it was."""
    parameters = {"dim_share_min": 0.5, "dim_from_hour": 22, "dim_to_hour": 4, "p_max_mw": 0.2}
    first = cheapest(lighting(make, parameters), 1.0, np.full(48, 300.0))
    again = make(AssetKind.STREET_LIGHTING, parameters, steps=48, p_mw=first.p_mw)
    assert first.p_mw[0] == pytest.approx(0.1)
    np.testing.assert_allclose(again.base_mw, NIGHT)
    np.testing.assert_allclose(cheapest(again, 1.0, np.full(48, 300.0)).p_mw, first.p_mw)


def test_a_night_has_so_many_hours_over_midnight(make, cheapest):
    made = lighting(make, {"dim_hours_per_night": 2}, states={"activated_h": 1.5})
    plan = cheapest(made, 1.0, np.where(HOURS < 12, 300.0, 200.0))
    hours = plan.lowered / 0.1
    assert hours[:12].sum() == pytest.approx(0.5)  # the rest of the first night
    assert hours[12:36].sum() == pytest.approx(2.0)
    assert hours[24:36].sum() == pytest.approx(2.0)  # the dearer side of midnight
    assert hours[36:].sum() == pytest.approx(1.0)  # 23:00 to midnight of the third


def test_a_clock_that_is_put_back_brings_no_new_hours(make, cheapest):
    """Berlin, 25 October 2026: 02:00 to 03:00 comes twice, the night is an hour longer."""
    made = make(
        AssetKind.STREET_LIGHTING,
        {"dim_hours_per_night": 2, "dim_from_hour": 0, "dim_to_hour": 5},
        p_mw=0.2,
        steps=32,
        dt_h=0.25,
        start=np.datetime64("2026-10-24T22:00", "ns"),
        zone="Europe/Berlin",
    )
    assert (made.down_mw > 0).sum() * 0.25 == 6.0
    assert cheapest(made, 0.25, np.full(32, 300.0)).lowered.sum() * 0.25 / 0.1 == pytest.approx(2)


def test_hours_of_the_night_before_do_not_count_in_the_next(make):
    """The newest reading at noon is of the night that has ended."""
    noon = np.datetime64("2026-06-21T04:00", "ns")
    parameters, states = {"dim_hours_per_night": 2}, {"activated_h": 2.0}
    kind = AssetKind.STREET_LIGHTING
    ended = make(kind, parameters, states=states, start=noon, p_mw=0.2)
    assert ended.account.initial_mwh == pytest.approx(2 * 0.1)
    lasts = make(kind, parameters, states=states, start=noon - np.timedelta64(1, "h"), p_mw=0.2)
    assert lasts.account.initial_mwh == 0.0


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
