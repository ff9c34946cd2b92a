"""docs/faults.md: what a run did, what came of it, and what that proves."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from bench.fault_run import BROKER, BROKER_KILLED, CUT, SHARE, VICTIMS, Outcome

_HEAD = """# Faults

Made by `{command}` on {date}: {cores} cores, {system}, broker {broker}, {seconds:.0f} s.

A small city (meters and plants by MQTT, stations by HJ 212, chargers by OCPP, a building manager
by HTTP) sends numbered readings in real time through `verdigrid ingest mqtt`, `verdigrid ingest
field` and `verdigrid serve` into the embedded database, while processes are killed at random
moments and started again at once. Every sender keeps what was not acknowledged and sends it
again; some acknowledged messages are sent twice on purpose. At the end every acknowledged reading
is looked for in the table.

**{verdict}**

"""

_TIMES = """
From the fault until every way in that needs the process had a reading in the table that was made
after it: median and longest of the faults that met a healthy system and were alone until it had
healed, and the longest of all, in which further faults and the spells below are contained.
"""

_PROVES = """
## What this proves, and what not

It proves that an acknowledged reading survives the sudden death of any process of the system, at
the moments that came up, with the data as it should be and once. It is a count and no proof: a
moment that did not come up in {kills} kills may still be bad.

It does not show what a loss of power does: a killed process leaves its writes to the operating
system, which keeps them. For that the database, the spool and amqtt ask the disk to have written
(fsync) before they acknowledge; whether the disk does so cannot be seen from here.

mosquitto acknowledges before it saves, which it does every second: killed by SIGKILL it can lose
what it acknowledged since. It is therefore restarted by SIGTERM here, which loses nothing; run
with `--broker amqtt` the broker is killed by SIGKILL too. Times are those of this machine; the
processes' own start, some seconds of Python's imports, is the largest part of them.
"""


def written(outcome: Outcome, command: str) -> str:
    """The whole page."""
    head = _HEAD.format(
        command=command,
        date=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        broker=outcome.broker,
        seconds=outcome.seconds,
        verdict=verdict(outcome),
    )
    parts = (
        head,
        "## The balance\n\n",
        _table(("readings", "count"), _balance(outcome)),
        "\n## Faults\n\n",
        _table(
            ("fault", "times", "flows again, median", "longest", "longest of all"), _faults(outcome)
        ),
        _TIMES,
        "\n## Spells\n\n",
        _table(("spell", "what was seen"), _spells(outcome)),
        _problems(outcome),
        _PROVES.format(kills=outcome.killed),
    )
    return "".join(parts)


def verdict(outcome: Outcome) -> str:
    """The run in a sentence."""
    found = outcome.audit
    return (
        f"{outcome.killed} times kill -9, {found.acknowledged:,} readings acknowledged, "
        f"{found.missing} of them missing, {found.doubled} stored twice, "
        f"{found.wrong} with a wrong value."
    )


def _balance(outcome: Outcome) -> Iterator[tuple[object, ...]]:
    found = outcome.audit
    yield "sent", f"{found.sent:,}"
    wires = ", ".join(f"{name} {count:,}" for name, count in sorted(found.by_wire.items()))
    yield "acknowledged", f"{found.acknowledged:,} ({wires})"
    yield "stored", f"{found.stored:,}"
    yield "**acknowledged and missing**", f"**{found.missing:,}**"
    yield "**stored twice**", f"**{found.doubled:,}**"
    yield "**stored with another value**", f"**{found.wrong:,}**"
    yield "stored and never sent", f"{found.strange:,}"
    yield "stored, never acknowledged (allowed)", f"{found.unacknowledged:,}"
    yield "of the flood, in bundles in the quarantine", f"{found.bundled:,}"
    yield (
        "with a wrong clock, stored; of them without the flag",
        f"{found.late:,}; " + str(found.late_unflagged),
    )
    yield "messages and rows sent; repetitions of them", f"{found.posts:,}; {found.repeated:,}"
    yield (
        "poison sent; acknowledged; **of it not in the quarantine**",
        f"{found.poison:,}; {found.poison_acknowledged:,}; **{found.poison_missing:,}**",
    )
    yield "poison that stands in the quarantine more than once (allowed)", found.poison_again


def _faults(outcome: Outcome) -> Iterator[tuple[object, ...]]:
    for name in (*VICTIMS, BROKER_KILLED, BROKER, CUT):
        times = outcome.faults[name]
        if times:
            healed = outcome.healed.get(name, [])
            alone = [one.seconds for one in healed if one.alone]
            how = f"{name} (SIGKILL)" if name in VICTIMS else name
            longest = max((one.seconds for one in healed), default=None)
            median = statistics.median(alone) if alone else None
            yield how, times, *(map(_seconds, (median, max(alone, default=None), longest)))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _spells(outcome: Outcome) -> Iterator[tuple[object, ...]]:
    plan, spells, counts = outcome.plan, outcome.spells, outcome.counts
    if plan.away_s:
        yield (
            f"database away for {plan.away_s:.0f} s, spool of 1 MB",
            f"{spells.refused_away} calls of chargers refused; {spells.held_away:,} messages "
            "waited at their senders; ingester and field service killed with what they held",
        )
    if spells.quiet and spells.flooded:
        yield (
            f"a device sends {plan.flood:,} readings at once",
            f"age of the newest stored reading of the others: before {spells.quiet.median_s:.1f} s "
            f"(worst {spells.quiet.worst_s:.1f} s), meanwhile {spells.flooded.median_s:.1f} s "
            f"(worst {spells.flooded.worst_s:.1f} s)",
        )
    if SHARE in spells.skipped:
        yield SHARE, f"skipped: {spells.skipped[SHARE]}"
    elif plan.share:
        yield (
            "two ingesters side by side",
            f"they got {' and '.join(f'{n / 1e6:.1f}' for n in spells.shared)} MB from the broker "
            "in the second half of the run, killed like the one before",
        )
    if plan.full_s:
        yield (
            f"disk full for {plan.full_s:.0f} s",
            f"{spells.refused_full} calls of chargers refused"
            + (
                f"; {spells.skipped['disk full']}"
                if "disk full" in spells.skipped
                else f"; {spells.full_bytes_free} bytes were free for database, spool and broker, "
                f"and the database said so {spells.no_space} times"
            ),
        )
    for name in sorted(counts):
        yield "in the whole run", f"{name}: {counts[name]:,}"


def _problems(outcome: Outcome) -> str:
    told = [*outcome.problems, *outcome.audit.examples]
    if not told:
        return ""
    return "\n## Problems\n\n" + "".join(f"- {one}\n" for one in told)


def _table(heads: Iterable[str], rows: Iterable[tuple[object, ...]]) -> str:
    names = list(heads)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
