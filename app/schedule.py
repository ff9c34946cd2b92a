"""Which jobs a city has, and when they are due in city time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from app import answers, whatifs
from app.alertwatch import AlertWatch
from app.archive import Archive
from app.bookkeeping import Bookkeeping
from app.dispatcher import Dispatcher
from app.following import Following
from app.foresight import Foresight
from app.housekeeping import Housekeeping
from app.registers import Registers
from app.rhythm import REPLAN
from app.scheduler import Agenda, Job
from app.scheduler import run as run_scheduler
from app.settings import Settings
from app.wiring import City
from core.timeaxis import DAY, HOUR, QUARTER_HOUR

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)


def jobs_of(
    city: City,
    foresight: Foresight,
    dispatcher: Dispatcher,
    books: Bookkeeping,
    watch: AlertWatch,
    keeping: Housekeeping,
    registers: Registers,
    archive: Archive,
) -> list[Job]:
    """The jobs with their fixed ids; a city without a grid makes no plans of its own accord.

    Readings of a step arrive when it has ended; the offsets leave them a city minute or three.
    """
    now = city.now
    plans = [
        Job(
            "day-ahead",
            DAY,
            # A city day of UTC+8 begins at 16:00 UTC; the plan of the next is made at noon.
            lambda: dispatcher.day_ahead(now()),
            offset=timedelta(hours=4),
            lane="heavy",
        ),
        Job(
            "intraday",
            REPLAN,
            lambda: dispatcher.intraday(now()),
            offset=2 * MINUTE,
            lane="heavy",
        ),
    ]
    return [
        *(plans if dispatcher.has_grid else ()),
        Job("beat", MINUTE, lambda: keeping.beat(now())),
        Job("forecast", HOUR, lambda: foresight.hourly(now()), offset=2 * MINUTE, lane="heavy"),
        Job(
            "requested",
            MINUTE,
            lambda: dispatcher.requested(now()),
            at_least=timedelta(seconds=2),
            lane="heavy",
        ),
        Job(
            "what-if",
            MINUTE,
            lambda: whatifs.requested(city),
            at_least=timedelta(seconds=2),
            lane="what-if",  # one that takes its time must not hold up a plan that is followed
        ),
        Job(
            "setpoints",
            MINUTE,
            lambda: dispatcher.tend(now()),
            at_least=timedelta(seconds=2),
            lane="heavy",
        ),
        Job(
            "alerts",
            MINUTE,
            lambda: watch.check(now()),
            at_least=timedelta(seconds=5),
            lane="watch",
        ),
        Job("books", HOUR, lambda: books.hourly(now()), offset=3 * MINUTE, lane="books"),
        Job("totals", QUARTER_HOUR, lambda: books.totals(now()), offset=MINUTE, lane="books"),
        Job(
            "registers",
            QUARTER_HOUR,
            lambda: registers.quarterly(now()),
            offset=MINUTE,
            lane="books",
        ),
        Job("retention", DAY, lambda: keeping.prune(now()), offset=HOUR, lane="books"),
        Job(
            "rollups",
            QUARTER_HOUR,
            lambda: archive.rollups(now()),
            offset=4 * MINUTE,
            at_least=timedelta(seconds=10),
            lane="archive",
        ),
        Job(
            "newest",
            QUARTER_HOUR,
            lambda: archive.newest(now()),
            offset=5 * MINUTE,
            at_least=timedelta(minutes=1),
            lane="archive",
        ),
        Job(
            "tidy",
            DAY,
            lambda: archive.tidy(now()),
            offset=18 * HOUR,  # two in the morning in UTC+8: who reads an old day may have to wait
            at_least=timedelta(minutes=10),
            lane="archive",
        ),
    ]


def agenda_of(settings: Settings, city: City, refused: Callable[[], str]) -> Agenda:
    """What the scheduler does for a city.

    refused: why the description saved last is of no use, empty where it is.
    """
    foresight = Foresight(city)
    dispatcher = Dispatcher(city, settings)
    books = Bookkeeping(city)
    watch = AlertWatch(city, refused)
    keeping = Housekeeping(city)
    archive = Archive(city)
    if not dispatcher.has_grid:
        log.info(
            "the city has no grid, and so no plans; `site load FILE --network GRID` brings one"
        )

    def first() -> None:
        """What a newcomer waits for, in the order of its worth, before the jobs take over."""
        now = city.now()
        keeping.beat(now)
        archive.newest(now)
        books.totals(now)
        books.hourly(now)
        foresight.hourly(now)
        dispatcher.first(city.now())
        watch.check(city.now())

    def anew() -> None:
        """What is changed by another description: what is expected, and what is asked."""
        foresight.hourly(city.now())
        if dispatcher.has_grid:
            dispatcher.intraday(city.now(), requested_by="description")

    registers = Registers(city)
    return Agenda(
        jobs_of(city, foresight, dispatcher, books, watch, keeping, registers, archive),
        first,
        anew,
    )


def run(settings: Settings, city: City, stop: threading.Event) -> None:
    """Run the city's jobs until ``stop`` is set, by the newest description that is of use."""
    following: Following[Agenda] = Following(
        city, lambda known: agenda_of(settings, known, lambda: following.refused)
    )
    with following.looking():
        run_scheduler(
            lambda: following.held,
            city.clock,
            city.database,
            stop,
            around=lambda: answers.listening(settings, city),
        )
    Housekeeping(city).beat(city.now())
