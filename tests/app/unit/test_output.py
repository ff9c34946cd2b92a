"""Tables show what is copied from them whole, as wide as the window is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.commands.output import emit_table

KEY = "demo/564447524944323132000001/relative_humidity"
WORDS = "profiles fit nobody, commands help"
REASON = f"unknown device {KEY!r}: no profile fits it; a command of this name makes it known"


@pytest.mark.parametrize("columns", [78, 100, 200])
def test_keys_stay_whole_and_sentences_wrap(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    device = "564447524944323132000001"
    rows = [(device, "waits", device, f"unknown device {device!r}: {WORDS}") for _ in range(3)]
    emit_table("Devices", ("device", "state", "asset", "reason"), rows)
    out = capsys.readouterr().out
    assert out.count(device) >= 2 * len(rows)
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= columns
    assert all(out.count(word) == len(rows) for word in WORDS.split())


def test_where_keys_do_not_fit_they_break_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    emit_table("Series", ("key", "twin"), [(KEY, KEY)])
    *_, first, second, _blank = capsys.readouterr().out.splitlines()
    pieces = [first.split(), second.split()]
    assert "".join(p[0] for p in pieces) == "".join(p[1] for p in pieces) == KEY


def test_in_a_pipe_every_row_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    emit_table("Devices", ("device", "twin", "reason"), [(KEY, KEY, REASON)])
    assert any(
        line.split() == [KEY, KEY, *REASON.split()] for line in capsys.readouterr().out.splitlines()
    )


def test_columns_without_anything_are_left_out_and_times_are_utc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    noon = datetime(2026, 6, 22, 12, tzinfo=UTC).astimezone(timezone(timedelta(hours=8)))
    rows = [("a", "", None, noon), ("b", "", None, None)]
    emit_table("Series", ("key", "flags", "owner", "ts"), rows)
    out = capsys.readouterr().out
    assert "flags" not in out
    assert "owner" not in out
    assert "2026-06-22T12:00:00Z" in out


def test_a_key_breaks_before_a_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    noon = datetime(2026, 6, 22, 12, tzinfo=UTC)
    emit_table("Series", ("key", "kind", "ts"), [(KEY, "air_station", noon)])
    assert "2026-06-22T12:00:00Z" in capsys.readouterr().out
