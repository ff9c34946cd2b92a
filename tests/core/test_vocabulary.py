"""Names of series, findings, accounts: small rules that everything else leans on."""

from datetime import timedelta

import pytest

from core.accounts import GRANTS, Account, Permission, Role, check
from core.errors import ConfigurationError, PermissionDeniedError, TimeError
from core.findings import Finding, Severity, errors
from core.series import Series, SeriesKind
from core.variables import VARIABLES, Aggregation, variable


def test_a_series_names_site_asset_variable_and_its_kind() -> None:
    measured = Series("demo", "pv-004", "p_mw", timedelta(minutes=15))
    assert measured.key == "demo/pv-004/p_mw"
    assert measured.unit == "MW"
    forecast = Series("demo", "pv-004", "p_mw", kind=SeriesKind.FORECAST)
    assert forecast.key == "demo/pv-004/p_mw@forecast"


@pytest.mark.parametrize("asset", ["", "PV 4", "a/b", "ü", "-x", "a@b"])
def test_a_key_part_that_would_not_read_back_is_refused(asset: str) -> None:
    with pytest.raises(ConfigurationError, match="series key"):
        Series("demo", asset, "p_mw")


def test_unknown_variable_or_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="p_kw"):
        variable("p_kw")
    with pytest.raises(TimeError, match="Nowhere"):
        Series("demo", "a", "p_mw", timezone="Nowhere/Town")


def test_bounds_have_room() -> None:
    assert all(v.minimum < v.maximum for v in VARIABLES.values())
    assert all(name == v.name for name, v in VARIABLES.items())


def test_what_plants_and_loads_remember_is_a_state_and_never_summed() -> None:
    """Two readings of a quarter-hour's clock, tank or debt are one state, not two."""
    kept = ("soc", "time_in_state_h", "starts_today", "cut_h", "activated_h", "e_owed_mwh")
    kept += ("volume_m3", "level_m")
    assert {VARIABLES[name].aggregation for name in kept} == {Aggregation.LAST}
    assert all(VARIABLES[name].minimum <= 0.0 for name in kept)


def test_a_finding_says_where_and_counts_the_rest() -> None:
    finding = Finding("line", "max_i_ka", tuple(range(8)), "has no rating")
    assert str(finding) == "error: line.max_i_ka [0, 1, 2, 3, 4 and 3 more]: has no rating"
    mild = Finding("line", "name", (1,), "is empty", Severity.WARNING)
    assert errors([mild, finding]) == [finding]


def test_every_role_sees_what_is_open_and_only_the_administrator_everything() -> None:
    for role in Role:
        assert {Permission.OVERVIEW_READ, Permission.ENVIRONMENT_READ} <= GRANTS[role]
    full = [role for role in Role if GRANTS[role] == frozenset(Permission)]
    assert full == [Role.ADMIN]


def test_a_refusal_names_account_and_permission() -> None:
    visitor = Account("visitor", Role.PUBLIC)
    with pytest.raises(PermissionDeniedError, match=r"'visitor' \(public\).*dispatch.run"):
        check(visitor, Permission.DISPATCH_RUN)
    operator = Account("op", Role.OPERATOR)
    assert check(operator, Permission.DISPATCH_RUN) is operator
