"""``verdigrid dispatch``: plan a day and compare it with the uncontrolled one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated

import typer

from app import pareto, promised, settings
from app.commands import decisions, demandcall
from app.commands.dispatch_reasons import show_why
from app.commands.output import AsJson, emit_json, emit_table
from app.plankinds import WHOLE_DAY
from app.planning import Horizon, network_of, run_plan
from app.progress import console
from app.riskchoice import Risk, chosen, of_city
from app.wiring import City, load_city, open_database
from core.errors import ConfigurationError
from core.timeaxis import from_datetime64, local_date, local_day, zone
from optimization.result import Plan, Status
from store import runs

FIGURES = (
    ("total_cny", "Cost with wear and carbon", "CNY"),
    ("cost_cny", "Energy bill", "CNY"),
    ("emissions_kgco2e", "Emissions of imports", "kgCO2"),
    ("peak_import_mw", "Peak import", "MW"),
    ("peak_export_mw", "Peak export", "MW"),
    ("losses_mwh", "Losses", "MWh"),
    ("vm_min_pu", "Lowest voltage", "pu"),
    ("vm_max_pu", "Highest voltage", "pu"),
    ("max_line_loading_percent", "Highest line loading", "%"),
    ("max_trafo_loading_percent", "Highest transformer loading", "%"),
    ("violations", "Limits violated", ""),
)
ASKED_FIGURES = (
    ("peak_cny", "Peak charge, peak to valley", "CNY"),
    ("breach_cny", "Missed calls, promises, reserve", "CNY"),
    ("reserve_cny", "Earned by reserve", "CNY"),
    ("unserved_mwh", "Not served", "MWh"),
)
"""Shown where they are asked for, that is where they are not nothing."""

group = typer.Typer(invoke_without_command=True, no_args_is_help=False)

group.command("approve")(decisions.approve)
group.command("refuse")(decisions.refuse)
group.command("runs")(decisions.list_runs)
group.command("setpoints")(decisions.list_setpoints)
group.add_typer(demandcall.group, name="call")


@group.callback()
def command(
    context: typer.Context,
    day: Annotated[
        str, typer.Option(help="City day YYYY-MM-DD; today where it is not given.")
    ] = "",
    why: Annotated[
        str, typer.Option(help="Say why this device does what it does, and what limits it.")
    ] = "",
    at: Annotated[
        str, typer.Option(help="With --why: local time HH:MM; where it moves most if not given.")
    ] = "",
    run: Annotated[
        int, typer.Option(help="With --why: a run made before, by its id, instead of a new plan.")
    ] = 0,
    risk: Annotated[
        str,
        typer.Option(
            help="How forecast errors count: none (plan on the medians), expected (least expected "
            "bill, whatever the exchange turns out to be), margin (limits held "
            "further inside) or cvar (several scenarios); the city's own where it is not given."
        ),
    ] = "",
    level: Annotated[
        float | None,
        typer.Option(
            help="With margin the probability with which each limit holds, with cvar where the "
            "tail of dear cases begins; 0.5 up to below 1."
        ),
    ] = None,
    scenarios: Annotated[
        int | None, typer.Option(help="With cvar: how many scenarios the plan is made for.")
    ] = None,
    position: Annotated[
        str,
        typer.Option(
            help="Keep a promised exchange: a CSV file with the columns time and mw (import less "
            "export), or day-ahead for that of the approved day-ahead plan."
        ),
    ] = "",
    sweep: Annotated[
        str,
        typer.Option(
            "--pareto",
            help="Plan the day once more for each pair of weights, such as cost,carbon,peak or "
            "carbon=1:5:20,peak=0:1; the runs are kept as what-if runs.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Plan a city day, check it on the AC grid and compare it with the uncontrolled day.

    With --why, say why a device does what it does at a time. Exit code 2 when limits had to be
    opened or stay violated; what must give is printed.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = settings.load()
    if (at or run) and not why:
        raise ConfigurationError("--at and --run go with --why.")
    if run and (position or sweep):
        raise ConfigurationError("--run shows a plan; --position and --pareto make one.")
    axes = pareto.axes(sweep) if sweep else None
    if run:
        with open_database(chosen) as database, database.connection() as connection:
            grounds = runs.grounds(connection, run)
        show_why(grounds, why, at, as_json=as_json, run_id=run)
        return
    started = time.monotonic()
    with open_database(chosen) as database:
        city = load_city(database)
        horizon = _day(city, day)
        taking = _taking(city, risk, level, scenarios)
        change = promised.keeping(city, horizon, position) if position else None
        if axes is not None:
            pareto.check(city, axes)
        points = []
        with console.status("Planning ...") as shown:
            made = run_plan(
                city,
                network_of(city),
                horizon,
                kind=WHOLE_DAY,
                requested_by="console",
                taking=taking,
                progress=lambda text: shown.update(text),
                change=change,
            )
            if axes is not None and made.plan.numbers is not None:
                points = pareto.run(city, made, axes, horizon.known_at, shown.update)
    plan = made.plan
    clean = plan.status is Status.OPTIMAL and not plan.violations
    seconds = time.monotonic() - started
    if why and plan.numbers is not None:
        show_why(
            plan.grounds, why, at, as_json=as_json, run_id=made.run_id, status=str(plan.status)
        )
    elif as_json:
        emit_json(
            {
                "run_id": made.run_id,
                "simulated": city.site.simulated,
                "seconds": seconds,
                **plan.summary(),
                "risk": made.about_risk,
                "asked": made.asked,
                **({"pareto": [asdict(point) for point in points]} if axes else {}),
                "price_cny_per_mwh": _prices(plan),
            }
        )
    else:
        _show(plan, horizon, city, seconds)
        for item in made.asked:
            console.print(f"  {item['text_en']}", markup=False)
        if "text_en" in made.about_risk:
            console.print(made.about_risk["text_en"], markup=False)
        if axes is not None:
            _show_sweep(points, made.run_id)
    if not clean:
        sys.exit(2)


def _show_sweep(points: Sequence[pareto.Swept], base: int) -> None:
    emit_table(
        f"Cost, carbon and peak, against run {base}",
        ("run", "carbon x", "peak x", "cost CNY", "emissions kgCO2", "peak MW", "worth it"),
        [
            (p.run_id, p.carbon, p.peak, p.money_cny, p.emissions_kgco2e, p.peak_import_mw,
             "yes" if p.efficient else "no")
            for p in points
        ],
    )  # fmt: skip
    console.print(
        "Cost is without carbon price and peak charge; worth it is what no other run betters in "
        "one of the three without losing in another. Nobody follows these runs."
    )


def _taking(city: City, name: str, level: float | None, scenarios: int | None) -> Risk:
    """The risk asked for; what is not said is as the city has it."""
    own = of_city(city.site.parameters)
    return chosen(
        name or str(own.kind),
        own.level if level is None else level,
        own.scenarios if scenarios is None else scenarios,
    )


def _day(city: City, text: str) -> Horizon:
    tz = zone(city.site.timezone)
    now = city.now()
    try:
        wanted = date.fromisoformat(text) if text else local_date(now, tz)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no day; write it as YYYY-MM-DD.") from error
    start, end = local_day(wanted, tz)
    if start - now > timedelta(days=2):
        raise ConfigurationError(
            f"{wanted} lies more than two days ahead of the city's {local_date(now, tz)}: "
            "there is no forecast for it."
        )
    return Horizon(start, end, known_at=min(now, end))


def _asked_figures(plan: Plan) -> list[tuple[str, str, str]]:
    figures = [plan.baseline, *([plan.planned] if plan.numbers else [])]
    return [row for row in ASKED_FIGURES if any(getattr(f, row[0]) for f in figures)]


def _prices(plan: Plan) -> dict[str, float]:
    """The marginal price of each step by its beginning; empty for a plan without numbers."""
    if plan.numbers is None:
        return {}
    price = plan.schedule["price_cny_per_mwh"]
    return {
        from_datetime64(ts).isoformat(): round(float(value), 3)
        for ts, value in zip(price.time.to_numpy(), price.to_numpy(), strict=True)
    }


def _show(plan: Plan, horizon: Horizon, city: City, seconds: float) -> None:
    tz = zone(city.site.timezone)
    rows = []
    for name, title, unit in (*FIGURES, *_asked_figures(plan)):
        before = getattr(plan.baseline, name)
        after = getattr(plan.planned, name) if plan.numbers else None
        change = None if after is None else after - before
        rows.append((title, unit, before, after, change))
    day = horizon.start.astimezone(tz).date()
    emit_table(
        f"Dispatch of {day} ({city.site.timezone}{', simulated' if city.site.simulated else ''})",
        ("figure", "unit", "uncontrolled", "planned", "change"),
        rows,
    )
    verdict = "clean" if not plan.violations else f"{len(plan.violations)} limits cannot be held"
    if plan.numbers is None:
        verdict = "impossible without a plan"
    elif plan.status is Status.RELAXED:
        verdict = f"with {sum(given.hard for given in plan.given)} limits opened, {verdict}"
    console.print(
        f"Status {plan.status}, AC check {verdict}, {plan.rounds} rounds, {seconds:.1f} s."
    )
    prices = _prices(plan)
    if prices:
        low, high = min(prices.values()), max(prices.values())
        console.print(
            f"Marginal price of a step: {low:.0f} to {high:.0f} CNY/MWh (--json has all)."
        )
    if plan.given:
        hard = sum(given.hard for given in plan.given)
        emit_table(
            "What must give" if hard else "What gives",
            ("limit of", "by", "unit", "from", "to", "what"),
            [
                (g.subject, g.amount, g.unit, from_datetime64(g.start), from_datetime64(g.end),
                 g.text_en)
                for g in plan.given
            ],
        )  # fmt: skip
    for finding in plan.violations:
        if not any(given.text_en == finding.message for given in plan.given):
            console.print(f"  {finding}", markup=False)
    for reason in plan.reasons[:8]:
        console.print(f"  {reason.asset}: {reason.text_en}", markup=False)
