"""Units: published conversion factors, and nothing a sender writes may do more than convert."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnitError
from core.units import SPELLINGS, convert, known, linear
from core.variables import VARIABLES


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, "kW", "MW", 1e-3),
        (1.0, "MWh", "kWh", 1000.0),
        (3.6, "GJ", "MWh", 1.0),  # 1 MWh = 3.6 GJ
        (20.0, "Cel", "degC", 20.0),  # RFC 8428
        (20.0, "Cel", "K", 293.15),
        (1.0, "mg/m3", "µg/m3", 1000.0),
        (250.0, "ng/m3", "µg/m3", 0.25),
        (1.0, "L/s", "m3/h", 3.6),
        (1013.25, "hPa", "kPa", 101.325),
        (55.0, "%", "1", 0.55),
        (0.5306, "kgCO2/kWh", "kgCO2e/MWh", 530.6),
        (0.52, "CNY/kWh", "CNY/MWh", 520.0),
        (2.0, "tCO2e", "kgCO2e", 2000.0),
        (1.0, "kvar", "Mvar", 1e-3),
    ],
)
def test_published_factors(value: float, source: str, target: str, expected: float) -> None:
    assert convert(value, source, target) == pytest.approx(expected, rel=1e-12)


def test_array_equals_scalar() -> None:
    celsius = np.array([-40.0, 0.0, 21.5])
    kelvin = convert(celsius, "Cel", "K")
    assert kelvin.tolist() == [convert(float(c), "Cel", "K") for c in celsius]


@pytest.mark.parametrize(
    ("source", "target"),
    [("kW", "MWh"), ("CNY/MWh", "MWh"), ("dB(A)", "1"), ("kgCO2e", "kg"), ("furlongs", "MW")],
)
def test_what_does_not_measure_the_same_is_refused(source: str, target: str) -> None:
    with pytest.raises(UnitError, match=r"unit|convert"):
        linear(source, target)


def test_every_variable_and_spelling_is_known() -> None:
    assert all(known(v.unit) for v in VARIABLES.values())
    assert all(known(spelling) for spelling in SPELLINGS)


@given(st.text(max_size=30) | st.sampled_from(["9**9**9", "m**9**9", "__import__", "1e999", "(("]))
def test_no_text_raises_anything_but_a_unit_error(text: str) -> None:
    try:
        factor, offset = linear(text, "MW")
    except UnitError:
        return
    assert math.isfinite(factor)
    assert math.isfinite(offset)
