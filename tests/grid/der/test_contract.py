"""The contract of envelopes: found by folder, and meaning what they say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import grid.der
from core.errors import ConfigurationError
from core.sites import AssetKind
from core.variables import VARIABLES
from grid.der import found
from grid.envelope import DepthBand, EnergyAccount, Envelope


def test_the_folder_is_the_registry():
    """One file for each type, named as its kind."""
    (folder,) = grid.der.__path__
    files = {p.stem for p in Path(folder).glob("*.py") if not p.stem.startswith("_")}
    assert {str(kind) for kind in found()} == files
    assert {"battery", "pv"} < files


def test_what_a_type_asks_for_is_in_the_vocabulary():
    for der_type in found().values():
        assert set(der_type.profiles) | set(der_type.states) <= set(VARIABLES), der_type.kind


TOY = """
import numpy as np
from core.sites import AssetKind
from grid.envelope import Envelope

KIND = AssetKind.GENERATOR
PROFILES = ("p_mw",)

def envelope(asset, conditions):
    none = np.zeros(conditions.steps)
    power = none + asset.parameters["p_max_mw"]
    return Envelope(asset.id, asset.kind, "sgen", asset.element_index, none, power, none)
"""


def test_a_new_type_is_a_new_file(tmp_path, monkeypatch, make):
    (tmp_path / "toy_generator.py").write_text(TOY)
    monkeypatch.setattr(grid.der, "__path__", [*grid.der.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "grid.der.toy_generator", raising=False)
    toy = make(AssetKind.GENERATOR, {"p_max_mw": 3.0})
    assert toy.p_max_mw.tolist() == [3.0] * 24
    assert found()[AssetKind.GENERATOR].profiles == ("p_mw",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOY.replace("GENERATOR", "PV"), "repeats the kind pv"),
        ("KIND = None", "lacks KIND"),
    ],
)
def test_a_file_that_is_no_new_type_stops_the_start(tmp_path, monkeypatch, text, says):
    (tmp_path / f"zz_{len(text)}.py").write_text(text)
    monkeypatch.setattr(grid.der, "__path__", [*grid.der.__path__, str(tmp_path)])
    with pytest.raises(ConfigurationError, match=says):
        found()


def test_an_asset_that_cannot_be_dispatched_is_refused(make):
    with pytest.raises(ConfigurationError, match="No type"):
        make(AssetKind.METER)
    with pytest.raises(ConfigurationError, match="one lacks the number e_max_mwh"):
        make(AssetKind.BATTERY, {"p_max_mw": 1.0})
    with pytest.raises(ConfigurationError, match="one needs p_mw for each of 24 steps"):
        make(AssetKind.PV)
    with pytest.raises(ConfigurationError, match="p_mw of one holds values that are no numbers"):
        make(AssetKind.PV, p_mw=np.nan)


GOOD = Envelope("x", AssetKind.PV, "sgen", 0, np.zeros(3), np.ones(3), np.zeros(3))
ACCOUNT = EnergyAccount(
    0.0, np.zeros(3), np.ones(3), np.ones(3), np.ones(3), np.ones(3), np.zeros(3)
)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"up_mw": np.full(3, -1.0)}, "cross"),
        ({"down_mw": np.ones(4)}, "length"),
        ({"base_mw": np.array([1, np.nan, 1.0])}, "no numbers"),
        ({"up_cny_per_mwh": np.array([1, np.inf, 1.0])}, "no numbers"),
        ({"element": "trafo"}, "trafo"),
        ({"account": replace(ACCOUNT, gain_up=-np.ones(3))}, "gain"),
        ({"account": replace(ACCOUNT, keep=np.full(3, 1.1))}, "keeps"),
        ({"account": replace(ACCOUNT, inflow_mwh=np.ones(2))}, "length"),
        ({"account": replace(ACCOUNT, depth=(DepthBand(0.5, 2), DepthBand(0.5, 1)))}, "wear"),
        ({"account": replace(ACCOUNT, depth=(DepthBand(0.5, 2),))}, "add up to 1"),
    ],
)
def test_an_envelope_that_makes_no_sense_is_refused(changed, says):
    with pytest.raises(ConfigurationError, match=says):
        replace(GOOD, **changed)


def test_conflicts_are_what_the_judge_cannot_solve_either(cheapest):
    """Demand of 2 MWh at once: a start of 1 and 1 MW of power are enough, less is not."""
    for start, feasible in ((1.0, True), (0.9, False)):
        account = replace(
            ACCOUNT,
            initial_mwh=start,
            inflow_mwh=np.array([-2.0, 0.0, 0.0]),
        )
        made = replace(GOOD, account=account)
        assert (made.conflicts(1.0) == []) is feasible
        assert (cheapest(made, 1.0, np.ones(3)) is not None) is feasible
