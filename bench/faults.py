"""The fault harness: kills, cuts, full disks and floods, and a count of what was lost.

``python -m bench.faults --kills 200`` writes docs/faults.md; the tests run the same in small
(tests/ingest/test_durability.py). Everything lies in a folder of its own that is removed at the
end; only processes that the run has started are ended.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import fault_report
from bench.fault_run import Plan, run
from ingest.broker import BrokerKind

TARGET = Path(__file__).resolve().parent.parent / "docs" / "faults.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1 when something acknowledged was lost, doubled or wrong, or a sender was misled."""
    options = _parser().parse_args(arguments)
    plan = Plan(
        kills=options.kills,
        seed=options.seed,
        broker=BrokerKind(options.broker) if options.broker else None,
        away_s=options.away,
    )
    outcome = run(plan, lambda line: print(line, flush=True))
    command = f"python -m bench.faults --kills {plan.kills} --seed {plan.seed}"
    if options.broker:
        command += f" --broker {options.broker}"
    page = fault_report.written(outcome, command)
    print(page)
    if options.write:
        TARGET.write_text(page)
    return 0 if outcome.audit.clean and not outcome.problems else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=200, help="how many times kill -9")
    add("--seed", type=int, default=1, help="of the order of victims and pauses")
    add("--away", type=float, default=60.0, help="seconds without the database")
    add("--broker", choices=[kind.value for kind in BrokerKind], help="default: mosquitto if there")
    add("--no-write", dest="write", action="store_false", help="leave docs/faults.md as it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
