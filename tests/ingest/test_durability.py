"""Whatever is killed: what was acknowledged is in the table, once, or in the quarantine.

The harness of ``make faults`` in small (bench/faults.py): one run, and each fault's own question.
"""

from __future__ import annotations

import pytest

from bench.fault_run import BROKER_KILLED, Outcome, Plan, run
from ingest.broker import BrokerKind
from ingest.overflow import STANDARD

pytestmark = pytest.mark.slow

KILLS = 8
FLOOD = 260_000


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """A run with every kind of fault."""
    return run(Plan(kills=KILLS, pause_s=(0.1, 0.6), away_s=6.0, full_s=4.0, flood=FLOOD))


def test_what_was_acknowledged_is_stored_once_and_as_it_was(outcome: Outcome):
    found = outcome.audit
    assert (found.missing, found.doubled, found.wrong, found.strange) == (0, 0, 0, 0)
    assert outcome.problems == []
    assert outcome.killed >= KILLS
    assert found.acknowledged == found.sent > FLOOD
    assert found.repeated > 100
    assert min(found.by_wire[w] for w in ("senml", "json", "hj212", "ocpp", "readings")) > 100


def test_poison_of_all_protocols_ends_in_quarantine(outcome: Outcome):
    assert outcome.audit.poison_missing == 0
    assert outcome.audit.poison_acknowledged == outcome.audit.poison > 20


def test_wrong_clocks_show_and_lose_nothing(outcome: Outcome):
    assert outcome.audit.late > 100
    assert outcome.audit.late_unflagged == 0


def test_senders_are_refused_while_the_database_is_away_and_the_spool_full(outcome: Outcome):
    assert outcome.spells.refused_away > 0
    assert outcome.spells.held_away > 100


def test_a_full_disk_refuses_and_heals(outcome: Outcome):
    assert outcome.spells.refused_full > 0  # the spool, which could not write
    if "disk full" in outcome.spells.skipped:
        pytest.skip(outcome.spells.skipped["disk full"])
    assert outcome.spells.full_bytes_free == 0
    assert outcome.spells.no_space > 0  # the database


def test_a_device_gone_mad_gets_its_measure_and_the_others_go_on(outcome: Outcome):
    taken = FLOOD - outcome.audit.bundled
    assert 0 < taken <= STANDARD.burst + STANDARD.readings_per_s * outcome.seconds
    assert outcome.spells.flowed


def test_two_ingesters_share(outcome: Outcome):
    assert len(outcome.spells.shared) == 2
    assert min(outcome.spells.shared) > 0.05 * sum(outcome.spells.shared)


def test_a_broker_that_writes_before_it_acknowledges_may_be_killed():
    """amqtt, started by ingest/durable_amqtt.py; mosquitto saves every second only."""
    plan = Plan(
        kills=2,
        pause_s=(0.5, 1.0),
        away_s=0.0,
        full_s=0.0,
        flood=0,
        share=False,
        broker=BrokerKind.AMQTT,
        victims=("ingester", "database backend"),
        broker_turn=1.0,
    )
    outcome = run(plan)
    assert outcome.faults[BROKER_KILLED] >= 2
    assert outcome.problems == []
    assert outcome.audit.clean
    assert outcome.audit.acknowledged > 100
