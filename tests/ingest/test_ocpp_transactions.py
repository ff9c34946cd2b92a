"""Ids of transactions: the same for the same start, also for another process after a crash."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import ServiceError
from ingest import ocpp_transactions
from ingest.ocpp_transactions import Known, Transactions

NOW = datetime(2026, 6, 22, 4, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "transactions.sqlite"


def test_a_resent_start_gets_the_same_id(path: Path) -> None:
    held = Transactions(path, NOW)
    first = held.begin("CP-1", "1 2026-06-22T04:00:00Z 12000", 1)
    assert held.begin("CP-1", "1 2026-06-22T04:00:00Z 12000", 1) == first
    assert held.begin("CP-2", "1 2026-06-22T04:00:00Z 12000", 1) != first
    assert held.begin("CP-1", "2 2026-06-22T04:00:00Z 12000", 2) != first
    held.close()
    again = Transactions(path, NOW)
    assert again.begin("CP-1", "1 2026-06-22T04:00:00Z 12000", 1) == first
    again.close()


def test_ids_fit_and_begin_above_those_of_a_lost_file(path: Path) -> None:
    earlier = Transactions(path, NOW)
    lost = earlier.begin("CP-1", "a", 1)
    earlier.close()
    for part in path.parent.iterdir():
        part.unlink()
    held = Transactions(path, NOW.replace(hour=5))
    assert lost < held.begin("CP-1", "b", 1) < 2**31
    held.close()


def test_the_connector_of_a_transaction_is_remembered(path: Path) -> None:
    held = Transactions(path, NOW)
    number = held.begin("CP-1", "a", 2)
    assert held.by_id("CP-1", number) == Known(number, "a", 2)
    assert held.by_name("CP-1", "a") == Known(number, "a", 2)
    assert held.by_id("CP-2", number) is None
    held.close()


def test_the_newest_transaction_of_a_connector_is_under_way_until_it_ends(path: Path) -> None:
    held = Transactions(path, NOW)
    first, second = held.begin("CP-1", "a", 1), held.begin("CP-1", "b", 1)
    held.end(first)
    assert held.under_way("CP-1", 1) == Known(second, "b", 1)
    held.end(second)
    assert held.under_way("CP-1", 1) is None
    assert held.under_way("CP-1", 2) is None
    held.close()


def test_old_transactions_of_a_charger_are_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocpp_transactions, "KEPT", 3)
    held = Transactions(path, NOW)
    other = held.begin("CP-2", "a", 1)
    numbers = [held.begin("CP-1", str(n), 1) for n in range(5)]
    assert [held.by_id("CP-1", n) is None for n in numbers] == [True, True, False, False, False]
    assert held.by_id("CP-2", other) is not None
    held.close()


def test_threads_that_ask_at_once_get_one_id(path: Path) -> None:
    held = Transactions(path, NOW)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(held.begin("CP-1", "a", 1))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1
    held.close()


def test_an_id_that_was_given_survives_kill_9(path: Path) -> None:
    program = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from ingest.ocpp_transactions import Transactions
held = Transactions(Path(sys.argv[1]), datetime(2026, 6, 22, tzinfo=UTC))
print(held.begin("CP-1", "a", 1), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert killed.returncode == -9
    held = Transactions(path, NOW)
    assert held.begin("CP-1", "a", 1) == int(killed.stdout)
    held.close()


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "transactions.sqlite"
    path.write_text("this is no database, and longer than a header" * 100)
    with pytest.raises(ServiceError, match=r"transactions\.sqlite cannot be used"):
        Transactions(path, NOW)
