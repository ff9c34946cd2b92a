"""``verdigrid grid`` as a user calls it, with files and the network of the city."""

from __future__ import annotations

import json
from pathlib import Path

import pandapower
import pandapower.networks as examples
import pytest

from app import cli
from app.wiring import City

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process; gives its exit code, what it printed and what it said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            cli.main(["grid", *map(str, arguments)])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def cigre(tmp_path: Path) -> Path:
    net = examples.create_cigre_network_mv(with_der=False)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.05
    net.load["scaling"] = 0.4
    path = tmp_path / "cigre.json"
    path.write_text(pandapower.to_json(net))
    return path


def test_a_network_goes_through_every_format(call, cigre: Path, tmp_path: Path) -> None:
    before = cigre
    losses = []
    for ending in (".xlsx", ".m", ".mat", ".json"):
        out = tmp_path / f"next{ending}"
        code, said, err = call("import", before, "--out", out, "--json")
        assert (code, err) == (0, "")
        assert json.loads(said)["errors"] == 0
        code, said, _ = call("flow", out, "--json")
        assert code == 0
        losses.append(json.loads(said)["import_mw"])
        before = out
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-6)


def test_a_check_tells_by_its_exit_code(call, cigre: Path, tmp_path: Path) -> None:
    code, said, err = call("check", cigre)
    assert code == 0
    assert "15 bus, 15 line, 2 trafo" in " ".join((said + err).split())
    net = pandapower.from_json(str(cigre))
    net.line.loc[2, "x_ohm_per_km"] = net.line.loc[2, "r_ohm_per_km"] = 0.0
    broken = tmp_path / "broken.json"
    broken.write_text(pandapower.to_json(net))
    code, said, _ = call("check", broken, "--json")
    (found,) = json.loads(said)["findings"]
    assert code == 1
    assert (found["component"], found["field"], found["ids"]) == ("line", "x_ohm_per_km", [2])


def test_a_flow_with_an_outage_names_what_is_dark(call, cigre: Path) -> None:
    code, said, _ = call("flow", cigre, "--line", 0, "--json")
    answer = json.loads(said)
    assert code == 0
    assert answer["dark_buses"] == 10
    assert answer["dark"][0]["component"] == "bus"
    code, said, _ = call("flow", cigre, "--load-factor", 4, "--json")
    assert code == 1
    assert {f["field"] for f in json.loads(said)["violations"]} >= {"vm_pu", "loading_percent"}
    code, said, err = call("flow", cigre, "--line", 99)
    assert (code, said) == (1, "")
    assert "The network has no line 99." in err


def test_single_outages_and_hosting_capacity(call, cigre: Path) -> None:
    code, said, _ = call("n-1", cigre, "--json", "--worst", 3)
    rows = json.loads(said)
    assert code == 0
    assert [row["dark_mw"] for row in rows] == sorted((r["dark_mw"] for r in rows), reverse=True)
    code, said, _ = call(
        "hosting", cigre, "--bus", 3, "--bus", 11, "--max-mw", 30,
        "--load-factor", 0.2, "--load-factor", 1, "--json",
    )  # fmt: skip
    near, far = json.loads(said)
    assert code == 0
    assert near["capacity_mw"] > far["capacity_mw"] > 0
    assert far["limit"] in {"vm_pu", "line_loading_percent"}
    assert far["load_factor"] == 0.2  # the scenario that binds: little load beside the PV
    assert far["side"] == "upper"
    code, said, _ = call("hosting", cigre, "--bus", 3, "--max-mw", 0.1, "--json")
    (room,) = json.loads(said)
    assert (code, room["capacity_mw"], room["limit"]) == (0, 0.1, "search ends")
    assert room["element"] is room["side"] is room["load_factor"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check", "nowhere.json"], "nowhere.json cannot be read"),
        (["check", "1-MV-rurall--0-sw"], "near it are 1-MV-rural--0-sw"),
        (["check", __file__], "No format of networks has files named like"),
        (["import", "a.m", "--out", "b.m"], "a.m cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(call, arguments, sentence) -> None:
    code, said, err = call(*arguments)
    assert (code, said) == (1, "")
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err


EXPORT = """
import os, sys
os.environ |= {"VERDIGRID_DATABASE_URL": sys.argv[1], "VERDIGRID_HOME": sys.argv[2]}
from app.cli import main
main(["grid", *sys.argv[3:]])
"""


def test_the_network_of_the_city_is_the_one_that_is_meant(city: City, program, tmp_path) -> None:
    out = tmp_path / "city.m"
    process = program(EXPORT, city.database._url, tmp_path / "home", "export", out)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "mpc.branch = [" in out.read_text()
