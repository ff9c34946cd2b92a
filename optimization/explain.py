"""Why a resource does what it does, in words, from the prices and duals of its plan.

Every sentence is built on claims, inequalities between numbers of optimization/grounds; where the
prices alone do not carry it, it names what pushes the resource instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan

import numpy as np
import xarray as xr

from core.errors import ConfigurationError
from core.timeaxis import from_datetime64, zone
from optimization.grounds import MOVES_MW, Use
from optimization.limitcodes import WORDS, Limit
from optimization.result import Reason

TOLERANCE_CNY_PER_MWH = 0.02
"""What may be missing to a claim: the tie-break of accounts and the solver's tolerance."""
MOST_OF_A_KIND = {"battery": 5}
MOST_OTHERS = 3
_NOTABLE_MW = 1e-3
_SETS_NOTHING = (Limit.IMPORT, Limit.EXPORT, Limit.RESOURCE, Limit.PRICE)

_VERBS = {
    "battery": ("charges", "discharges", "充电", "放电"),
    "ev_charger": ("charges", "feeds back", "充电", "向电网回馈"),
    "heat_pump": ("heats with", "heats less by", "供热用电", "减少供热用电"),
    "electric_boiler": ("heats with", "heats less by", "供热用电", "减少供热用电"),
    "flexible_load": ("draws more by", "draws less by", "增加用电", "减少用电"),
    "interruptible_load": ("makes up", "is cut by", "补充用电", "中断"),
    "pump_station": ("pumps with", "pumps less by", "抽水用电", "减少抽水用电"),
    "street_lighting": ("lights up by", "is dimmed by", "增加照明", "调光减少"),
    "genset": ("runs at", "runs lower by", "发电", "减少发电"),
    "chp": ("runs at", "runs lower by", "发电", "减少发电"),
    "generator": ("runs at", "runs lower by", "发电", "减少发电"),
    "pv": ("feeds in more by", "holds back", "增加发电", "限发"),
    "wind": ("feeds in more by", "holds back", "增加发电", "限发"),
}
_FEEDS = ("feeds in more by", "holds back", "增加发电", "减少发电")
_DRAWS = ("draws", "draws less by", "用电", "减少用电")
_VALUE = {
    "battery": ("its stored value of {}", "储能价值 {}"),
    "heat": ("the worth of its heat, {}", "所产热量价值 {}"),
    "water": ("the worth of the water, {}", "所抽水量价值 {}"),
    "": ("the value of its energy, {}", "所需电量价值 {}"),
}
_NEED = {
    "battery": ("its least state of charge", "最低荷电状态"),
    "ev_charger": ("its energy at departure", "离开时所需电量"),
    "heat_pump": ("comfort", "室温舒适下限"),
    "heat": ("its heat demand", "供热需求"),
    "water": ("its reservoir level", "水池水位"),
    "": ("the energy it must have had", "届时所需电量"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """``left`` lies at or under ``right``, both CNY/MWh (or CNY, CNY/Mvarh) as ``what`` says."""

    what: str
    left: float
    right: float

    @property
    def holds(self) -> bool:
        """Whether it is true to the tie-break."""
        return bool(self.left <= self.right + TOLERANCE_CNY_PER_MWH)


@dataclass
class _Text:
    """A sentence in two languages as it grows, and what it claims."""

    en: str = ""
    zh: str = ""
    claims: list[Claim] = field(default_factory=list)

    def add(self, en: str, zh: str, *claims: Claim) -> None:
        self.en += en
        self.zh += zh
        self.claims.extend(claims)


@dataclass(frozen=True, eq=False)
class Read:
    """The grounds of a plan as plain arrays, read once for many sentences."""

    arrays: Mapping[str, np.ndarray]
    timezone: str

    @classmethod
    def of(cls, grounds: xr.Dataset) -> Read:
        """Of a plan, or of a store."""
        arrays = {str(name): array.values for name, array in grounds.variables.items()}
        return cls(arrays, str(grounds.attrs["timezone"]))


@dataclass(frozen=True, eq=False)
class Place:
    """One resource at one step of ``grounds``."""

    grounds: Read
    a: int
    t: int

    def __getitem__(self, name: str) -> float:
        """A number (time, asset) here; 0 where there is none."""
        value = float(self.grounds.arrays[name][self.t, self.a])
        return 0.0 if isnan(value) else value

    def fixed(self, name: str) -> float:
        """A number of the resource."""
        return float(self.grounds.arrays[name][self.a])

    def said(self, name: str) -> str:
        """A text of the resource."""
        return str(self.grounds.arrays[name][self.a])

    @property
    def feeds(self) -> bool:
        """Whether its positive power is fed into the grid."""
        return self.said("table") == "sgen"

    @property
    def binding(self) -> Limit:
        """The limit that decides here; the one that sets the price where nothing else binds."""
        own = Limit(int(self["binding"]))
        price = Limit(int(self.grounds.arrays["price_limit"][self.t]))
        return price if own is Limit.PRICE and price not in _SETS_NOTHING else own

    def clock(self, step: int | None = None) -> str:
        """The local time of a step, this one's by default."""
        times = self.grounds.arrays["time"]
        return _clock(self.grounds.timezone, times[self.t if step is None else step])


def why(grounds: xr.Dataset, asset: str, t: int) -> Reason:
    """The sentence on ``asset`` at step ``t``, from the plan's grounds (see optimization.grounds).

    Raises ConfigurationError for an asset or step that the plan does not have.
    """
    return explained(Read.of(grounds), asset, t)[0]


def explained(grounds: Read, asset: str, t: int) -> tuple[Reason, tuple[Claim, ...]]:
    """``why``, with the inequalities that the sentence states."""
    names, times = grounds.arrays["asset"].tolist(), grounds.arrays["time"]
    if asset not in names:
        raise ConfigurationError(f"The plan has no resource {asset!r}.")
    if not 0 <= t < len(times):
        raise ConfigurationError(f"The plan has no step {t}; it has {len(times)}.")
    here = Place(grounds, names.index(asset), t)
    text = _Text()
    if here["raised_mw"] > MOVES_MW:
        _moving(here, text, up=True)
    elif here["lowered_mw"] > MOVES_MW:
        _moving(here, text, up=False)
    else:
        _resting(here, text)
    _reactive(here, text)
    _reserve(here, text)
    reason = Reason(asset, from_datetime64(times[t]), text.en, text.zh, here.binding.label)
    return reason, tuple(text.claims)


def reasons(grounds: xr.Dataset) -> list[Reason]:
    """The most telling ones: of each kind the resources that use the spread of prices most.

    Of each the steps, one either way, at which power and price are most in its favour.
    """
    told: list[tuple[float, Reason]] = []
    count: dict[str, int] = {}
    favour, read = _favour(grounds), Read.of(grounds)
    names, kinds = read.arrays["asset"].tolist(), read.arrays["kind"].tolist()
    for a in np.argsort(-favour.sum(axis=(0, 1)), kind="stable").tolist():
        kind = str(kinds[a])
        steps = [int(way[:, a].argmax()) for way in favour if way[:, a].max() > 0]
        if not steps or count.get(kind, 0) >= MOST_OF_A_KIND.get(kind, MOST_OTHERS):
            continue
        count[kind] = count.get(kind, 0) + 1
        for t in steps:
            reason, _ = explained(read, str(names[a]), t)
            told.append((float(favour[:, t, a].max()), reason))
    return [reason for _, reason in sorted(told, key=lambda pair: -pair[0])]


def price_reason(grounds: xr.Dataset, t: int) -> Reason:
    """What sets the marginal price at the substation at step ``t``; its asset is empty."""
    price = float(grounds["price_cny_per_mwh"].values[t])
    extra = float(grounds["price_extra_cny_per_mwh"].values[t])
    limit = Limit(int(grounds["price_limit"].values[t]))
    when = grounds["time"].values[t]
    hour = _clock(str(grounds.attrs["timezone"]), when)
    en, zh = WORDS[limit]
    if limit is Limit.RESOURCE:
        a = int(grounds["price_asset"].values[t])
        if a >= 0:
            name = str(grounds["asset"].values[a])
            en, zh = f"{name}, which is free to answer", f"可调节资源 {name}"
        else:
            en, zh = "what the resources can do, as nothing is exchanged", "资源自身能力（无交换）"
    part_en = f", {extra:+.0f} of it on top of the tariff" if abs(extra) >= 0.5 else ""
    part_zh = f"，其中电价之外 {extra:+.0f}" if abs(extra) >= 0.5 else ""
    return Reason(
        "",
        from_datetime64(when),
        f"one more MWh at {hour} costs {price:z.0f} CNY, set by {en}{part_en}",
        f"{hour} 每多用 1 MWh 需 {price:z.0f} CNY，由{zh}决定{part_zh}",
        limit.label,
    )


def _favour(grounds: xr.Dataset) -> np.ndarray:
    """Power moved times how far the price stands on the right side, (raised or lowered, t, a)."""
    feeds = grounds["table"].values == "sgen"
    local = grounds["local_cny_per_mwh"].values
    if not local.size:
        return np.zeros((2, *local.shape))
    cheap, dear = local.max(axis=0) - local + 1.0, local - local.min(axis=0) + 1.0
    found = []
    for name, when_fed, when_drawn in (
        ("raised_mw", dear, cheap),
        ("lowered_mw", cheap, dear),
    ):
        moved = grounds[name].values
        right = np.where(feeds, when_fed, when_drawn)
        found.append(np.where(moved > _NOTABLE_MW, moved * right, 0.0))
    return np.array(found)


# --- what moves --------------------------------------------------------------------------------


def _claim(here: Place, *, up: bool) -> Claim:
    """That moving pays: what it costs lies at or under what it brings, CNY/MWh moved."""
    local = here["local_cny_per_mwh"]
    if up:
        stored = here["gain_up"] * here["stored_cny_per_mwh"]
        own = here["own_up_cny_per_mwh"]
        if here.feeds:
            return Claim("own cost against local price and stored value", own, local + stored)
        return Claim("local price and own cost against stored value", local + own, stored)
    stored = here["gain_down"] * here["stored_cny_per_mwh"]
    own = here["own_down_cny_per_mwh"]
    if here.feeds:
        return Claim("local price and stored value against own cost", local + stored, -own)
    return Claim("stored value and own cost against local price", stored + own, local)


def _moving(here: Place, text: _Text, *, up: bool) -> None:
    claim = _claim(here, up=up)
    _verb(here, text, up=up)
    if claim.holds:
        text.add("because ", "：")
        _reason(here, text, claim, up=up)
        text.claims.append(claim)
    else:
        text.add("although ", "，虽然")
        _reason(here, text, claim, up=up, over=True)
        _pushed(here, text, claim, up=up)
    _avoided(here, text)
    _given_back(here, text)
    _run(here, text)
    _binds(here, text)


def _verb(here: Place, text: _Text, *, up: bool) -> None:
    usual = _FEEDS if here.feeds else _DRAWS
    verbs = _VERBS.get(here.said("kind"), usual)
    if here.said("kind") == "generator" and not here.feeds:
        verbs = usual
    power = here["raised_mw" if up else "lowered_mw"]
    en, zh = (verbs[0], verbs[2]) if up else (verbs[1], verbs[3])
    amount = f"{power:.2f}" if power >= 0.1 else f"{power:.4f}"
    warm_en = warm_zh = ""
    if up and np.isfinite(here.fixed("c_mwh_per_k")):
        ahead = int(here["use"]) == Use.NEED and int(here["use_step"]) > here.t
        degrees = here.fixed("temp_reference_degc")
        degrees += here["content_mwh"] / here.fixed("c_mwh_per_k")
        en, zh = ("preheats with", "预热用电") if ahead else (en, zh)
        warm_en, warm_zh = f"to {degrees:.1f} degC ", f"至 {degrees:.1f} °C"
    text.add(
        f"{en} {amount} MW {warm_en}at {here.clock()} ", f"{here.clock()} {zh} {amount} MW{warm_zh}"
    )


def _reason(here: Place, text: _Text, claim: Claim, *, up: bool, over: bool = False) -> None:
    """The two sides of the claim in words."""
    low, high = (claim.right, claim.left) if over else (claim.left, max(claim.left, claim.right))
    if here.feeds and not up and here.fixed("curtails"):
        _curtailed(here, text, claim, over=over)
        return
    if here.feeds and up:
        heat = here["gain_up"] * here["stored_cny_per_mwh"]
        worth = max(claim.right, claim.left) if not over else claim.right
        relation_en, relation_zh = _relation(worth, claim.left, over=not over)
        extra_en = f" (its heat of {heat:z.0f} included)" if abs(heat) >= 0.5 else ""
        extra_zh = f"（含热价值 {heat:z.0f}）" if abs(heat) >= 0.5 else ""
        text.add(
            f"{worth:z.0f} CNY/MWh{extra_en} {relation_en} its own cost of {claim.left:z.0f}",
            f"此处电价 {worth:z.0f} CNY/MWh{extra_zh} {relation_zh}自身成本 {claim.left:z.0f}",
        )
        return
    value_en, value_zh = _value(here)
    if up:
        own = here["own_up_cny_per_mwh"]
        own_en = f" with its own cost of {own:z.0f}" if abs(own) >= 0.5 else ""
        own_zh = f"（含自身成本 {own:z.0f}）" if abs(own) >= 0.5 else ""
        one, other = (claim.left, low) if over else (low, high)
        relation_en, relation_zh = _relation(one, other, over=over)
        text.add(
            f"{one:z.0f} CNY/MWh{own_en} {relation_en} {value_en.format(f'{other:z.0f}')}",
            f"电价 {one:z.0f} CNY/MWh{own_zh} {relation_zh}{value_zh.format(f'{other:z.0f}')}",
        )
        return
    one, other = (claim.right, claim.left) if over else (high, low)
    relation_en, relation_zh = _relation(one, other, over=not over)
    own = here["own_down_cny_per_mwh"]
    if here["gain_down"] == 0 and here["stored_cny_per_mwh"] == 0:
        value_en, value_zh = "what it is paid for, {}", "补偿价 {}"
    elif abs(own) >= 0.5:
        value_en, value_zh = (
            f"{value_en}, {own:z.0f} of its own included",
            f"{value_zh}（含自身成本 {own:z.0f}）",
        )
    text.add(
        f"{one:z.0f} CNY/MWh {relation_en} {value_en.format(f'{other:z.0f}')}",
        f"电价 {one:z.0f} CNY/MWh {relation_zh}{value_zh.format(f'{other:z.0f}')}",
    )


def _relation(one: float, other: float, *, over: bool) -> tuple[str, str]:
    if f"{one:z.0f}" == f"{other:z.0f}":
        return "equals", "等于"
    return ("lies over", "高于") if over else ("lies under", "低于")


def _value(here: Place) -> tuple[str, str]:
    """What the stored value is called, with where it comes from; {} for the number."""
    kind, carrier = here.said("kind"), here.said("carrier")
    key = "battery" if here.fixed("capacity_mwh") > 0 and kind == "battery" else carrier
    en, zh = _VALUE.get(key, _VALUE[""])
    use, step = int(here["use"]), int(here["use_step"])
    hour = here.clock(step) if step >= 0 else ""
    need_en, need_zh = _NEED.get(kind, _NEED.get(carrier, _NEED[""]))
    need_en = here.said("soft_kind") or need_en
    source = {
        Use.GIVEN: (f" from the {hour} peak", f"（来自 {hour} 高峰）"),
        Use.NEED: (f" for {need_en} at {hour}", f"（{hour} {need_zh}）"),
        Use.END: (" from what is left at the end", "（期末剩余价值）"),
        Use.TAKEN: (f" as it would be taken at {hour} else", f"（否则在 {hour} 取用）"),
        Use.FULL: (f", being full at {hour}", f"（{hour} 已满）"),
    }.get(use, ("", ""))
    return en + source[0], zh + source[1]


def _curtailed(here: Place, text: _Text, claim: Claim, *, over: bool) -> None:
    if over:
        local = here["local_cny_per_mwh"]
        text.add(
            f"one more MWh there is worth {local:z.0f} CNY",
            f"此处每多发 1 MWh 价值 {local:z.0f} CNY",
        )
        return
    network = here["network_cny_per_mwh"]
    element = int(here["binding_element"])
    local = here["local_cny_per_mwh"]
    price = Limit(int(here.grounds.arrays["price_limit"][here.t]))
    if element >= 0 and local - network > claim.right:
        en, zh = _named(here, element)
        en, zh = f"{en} binds", f"{zh}受限"
    elif price not in _SETS_NOTHING:
        en, zh = f"{WORDS[price][0]} binds", f"受{WORDS[price][1]}约束"
    else:
        en, zh = "exporting does not pay", "外送无收益"
    owed = here["own_down_cny_per_mwh"]
    owed_en = f", no more than the {-owed:z.0f} of holding back" if abs(owed) >= 0.5 else ""
    owed_zh = f"，不高于限发的 {-owed:z.0f}" if abs(owed) >= 0.5 else ""
    text.add(
        f"{en}; one more MWh there is worth {local:z.0f} CNY{owed_en}",
        f"{zh}；此处每多发 1 MWh 价值 {local:z.0f} CNY{owed_zh}",
    )


def _pushed(here: Place, text: _Text, claim: Claim, *, up: bool) -> None:
    """What makes it move although the prices do not."""
    limit = Limit(int(here["limit_up" if up else "limit_down"]))
    binding = here.binding
    if limit in (Limit.LEAST_ON, Limit.STATE) and binding in (Limit.MIN_UP, Limit.LONGEST_RUN):
        limit = binding
    push = here["push_up_cny_per_mwh" if up else "push_down_cny_per_mwh"]
    en, zh = WORDS[limit]
    text.add(
        f"; {en} asks for it, at {push:z.0f} CNY/MWh",
        f"；{zh}要求如此（{push:z.0f} CNY/MWh）",
        Claim("missing against what pushes", claim.left - claim.right, push),
    )


def _avoided(here: Place, text: _Text) -> None:
    """Of what moves its demand: the dearest step in which it could have drawn more."""
    if here["raised_mw"] <= MOVES_MW or here.said("kind") not in ("flexible_load", "ev_charger"):
        return
    raised, most, local = (
        here.grounds.arrays[name][:, here.a] for name in ("raised_mw", "up_mw", "local_cny_per_mwh")
    )
    could = np.flatnonzero(raised < most - MOVES_MW)
    if not could.size:
        return
    dearest = int(could[np.argmax(local[could])])
    if local[dearest] < here["local_cny_per_mwh"] + 1.0:
        return
    hour = here.clock(dearest)
    text.add(
        f"; {hour} at {local[dearest]:z.0f} CNY/MWh is avoided",
        f"；避开 {hour} 的 {local[dearest]:z.0f} CNY/MWh",
        Claim("price here against the one avoided", here["local_cny_per_mwh"], local[dearest]),
    )


def _given_back(here: Place, text: _Text) -> None:
    """Of a store whose value comes from charging at another time: when it is given back."""
    if here["raised_mw"] <= MOVES_MW or not here.fixed("capacity_mwh"):
        return
    if int(here["use"]) not in (Use.TAKEN, Use.FULL):
        return
    lowered = here.grounds.arrays["lowered_mw"][:, here.a]
    local = here.grounds.arrays["local_cny_per_mwh"][:, here.a]
    later = np.flatnonzero(lowered > MOVES_MW)
    later = later[later > here.t]
    if not later.size:
        return
    dearest = int(later[np.argmax(local[later])])
    if local[dearest] < here["local_cny_per_mwh"] + 1.0:
        return
    hour = here.clock(dearest)
    text.add(
        f"; it gives back at {hour} at {local[dearest]:z.0f} CNY/MWh",
        f"；{hour} 以 {local[dearest]:z.0f} CNY/MWh 放出",
        Claim("price here against the one given back at", here["local_cny_per_mwh"],
              local[dearest]),
    )  # fmt: skip


def _run(here: Place, text: _Text) -> None:
    """What a run of a switched resource saves against its start."""
    saves, start = here["run_saves_cny"], here["run_start_cny"]
    if here["on"] < 0.5 or start < 0.5:
        return
    if saves >= start:
        text.add(
            f"; its run saves {saves:z.0f} CNY against {start:z.0f} for the start",
            f"；本次运行节省 {saves:z.0f} CNY，启动费 {start:z.0f} CNY",
            Claim("start against the saving of the run", start, saves),
        )
    else:
        text.add(
            f"; its run saves {saves:z.0f} CNY at these prices and its start costs {start:z.0f}: "
            "the search over starts found no cheaper plan",
            f"；按此价格本次运行节省 {saves:z.0f} CNY，启动费 {start:z.0f} CNY："
            "未找到更省的启停方案",
        )


def _binds(here: Place, text: _Text) -> None:
    limit = here.binding
    quiet = (Limit.PRICE, Limit.NOTHING_THERE, Limit.EXCLUSIVE, *_SETS_NOTHING)
    if limit in quiet or (here.fixed("curtails") and here["lowered_mw"] > MOVES_MW):
        return
    en, zh = WORDS[limit]
    if limit is Limit.NETWORK and int(here["binding_element"]) >= 0:
        en, zh = _named(here, int(here["binding_element"]))
    if en in text.en:
        return
    text.add(f"; {en} binds", f"；受{zh}约束")


def _named(here: Place, element: int) -> tuple[str, str]:
    table, side, index, *called = str(here.grounds.arrays["element"][element]).split(":")
    en, zh = _limit_of(table, side, index)
    if called:
        way_zh = "上调" if called[0] == "up" else "下调"
        return f"{en} with all {called[0]} reserve called", f"{zh}（{way_zh}备用全部调用时）"
    return en, zh


def _limit_of(table: str, side: str, index: str) -> tuple[str, str]:
    if table == "substation":
        return WORDS[Limit.IMPORT_LIMIT if side == "max" else Limit.EXPORT_LIMIT]
    if table == "bus":
        which, which_zh = ("upper", "上限") if side == "max" else ("lower", "下限")
        return f"the {which} voltage limit of bus {index}", f"母线 {index} 电压{which_zh}"
    if table == "line":
        return f"the loading limit of line {index}", f"线路 {index} 负载率上限"
    if table == "trafo3w":
        which, which_zh = "three-winding transformer", "三绕组变压器"
    else:
        which, which_zh = "transformer", "变压器"
    return f"the loading limit of {which} {index}", f"{which_zh} {index} 负载率上限"


# --- what rests --------------------------------------------------------------------------------


def _resting(here: Place, text: _Text) -> None:
    hour = here.clock()
    if here["up_mw"] <= MOVES_MW and here["down_mw"] <= MOVES_MW:
        text.add(f"can do nothing at {hour}", f"{hour} 无可调功率")
        return
    if here.fixed("curtails"):
        claim = Claim(
            "what holding back costs against the local price",
            -here["own_down_cny_per_mwh"],
            here["local_cny_per_mwh"],
        )
        if claim.holds:
            text.add(
                f"feeds in all of its {here['p_mw']:.2f} MW at {hour} because one MWh there is "
                f"worth {here['local_cny_per_mwh']:z.0f} CNY",
                f"{hour} 全额发电 {here['p_mw']:.2f} MW：此处每 MWh 价值 "
                f"{here['local_cny_per_mwh']:z.0f} CNY",
                claim,
            )
            return
    if -0.5 < here["on"] < 0.5:
        _off(here, text)
        return
    text.add(f"rests at {hour} because ", f"{hour} 保持不动：")
    _either_way(here, text)


def _either_way(here: Place, text: _Text) -> None:
    """That neither direction pays, or what keeps it from the one that would."""
    said = False
    for up in (True, False):
        if here["up_mw" if up else "down_mw"] <= MOVES_MW:
            continue
        claim = _claim(here, up=up)
        against = Claim(f"no gain: {claim.what}", claim.right, claim.left)
        if said:
            text.add(", and ", "，且")
        said = True
        name_en, name_zh = ("more", "增加") if up else ("less", "减少")
        if against.holds:
            text.add(
                f"{name_en} would cost {against.right:z.0f} CNY/MWh and bring "
                f"{min(against.left, against.right):z.0f}",
                f"{name_zh}需 {against.right:z.0f} CNY/MWh，得 "
                f"{min(against.left, against.right):z.0f}",
                against,
            )
            continue
        push = here["push_up_cny_per_mwh" if up else "push_down_cny_per_mwh"]
        bound = here["bound_up_cny_per_mwh" if up else "bound_down_cny_per_mwh"]
        limit = Limit(int(here["limit_up" if up else "limit_down"]))
        limit = Limit.EXCLUSIVE if limit is Limit.PRICE else limit
        if limit is Limit.STATE and here.binding in (Limit.MIN_DOWN, Limit.MIN_UP):
            limit = here.binding
        en, zh = WORDS[limit]
        text.add(
            f"{name_en} would pay {claim.right - claim.left:z.0f} CNY/MWh, but {en} stands against "
            "it",
            f"{name_zh}可得 {claim.right - claim.left:z.0f} CNY/MWh，但受{zh}约束",
            Claim("gain against what holds it", claim.right - claim.left, max(bound, 0.0) - push),
        )


def _off(here: Place, text: _Text) -> None:
    """A switched resource that is off."""
    hour = here.clock()
    lowers = here["up_mw"] <= MOVES_MW
    claim = _claim(here, up=not lowers)
    against = Claim(f"no gain: {claim.what}", claim.right, claim.left)
    text.add(f"stays off at {hour} because ", f"{hour} 不启动：")
    saves, start = here["run_saves_cny"], here["run_start_cny"]
    rules = {
        Limit.MIN_DOWN: ("its minimum down time still runs", "最短停机时间未到"),
        Limit.LONGEST_RUN: ("its longest run is over", "已达最长连续运行时间"),
        Limit.STARTS: ("its starts are used up", "启动次数已用完"),
    }
    if here.binding in rules:
        text.add(*rules[here.binding])
    elif against.holds:
        text.add(
            f"running would cost {against.right:z.0f} CNY/MWh and bring {against.left:z.0f}",
            f"运行需 {against.right:z.0f} CNY/MWh，得 {against.left:z.0f}",
            against,
        )
    elif saves <= start:
        text.add(
            f"running while it pays would save {saves:z.0f} CNY, the start costs {start:z.0f}",
            f"可获利时段运行节省 {saves:z.0f} CNY，启动费 {start:z.0f} CNY",
            Claim("saving of a run against its start", saves, start),
        )
    else:
        text.add(
            "no cheaper plan with it on was found, its rules of switching and the prices that "
            "would change included",
            "计及启停规则与电价变化，未找到启动后更省的方案",
        )


# --- reactive power and reserve ----------------------------------------------------------------


def _reactive(here: Place, text: _Text) -> None:
    q = here["q_mvar"]
    if abs(q) <= _NOTABLE_MW:
        return
    worth = here["q_network_cny_per_mvarh"] + here["q_losses_cny_per_mvarh"]
    own = here["q_own_cny_per_mvarh"]
    claim = Claim("own price of reactive power against its worth", own, worth)
    if not claim.holds:
        return
    feeds = (q > 0) == here.feeds
    verb_en, verb_zh = ("feeds", "发出") if feeds else ("draws", "吸收")
    element = int(here["q_element"])
    en, zh = _named(here, element) if element >= 0 else ("less losses", "降低损耗")
    text.add(
        f"; {verb_en} {abs(q):.3f} Mvar for {en}, worth {worth:.1f} CNY/Mvarh against {own:.1f}",
        f"；{verb_zh}无功 {abs(q):.3f} Mvar（{zh}），价值 {worth:.1f} CNY/Mvarh，成本 {own:.1f}",
        claim,
    )


def _reserve(here: Place, text: _Text) -> None:
    for label in here.grounds.arrays:
        if not (label.startswith("reserve_") and label.endswith("_mw")):
            continue
        held = here[label]
        if held <= _NOTABLE_MW:
            continue
        product = label.removeprefix("reserve_").removesuffix("_mw")
        worth = float(here.grounds.arrays[f"reserve_{product}_cny_per_mw_h"][here.t])
        worth = max(worth, 0.0) + 0.0  # no minus before a zero
        text.add(
            f"; holds {held:.2f} MW of reserve {product}, each worth {worth:z.0f} CNY an hour",
            f"；保留备用 {product} {held:.2f} MW，每 MW 每小时价值 {worth:z.0f} CNY",
        )


def _clock(timezone: str, when: np.datetime64) -> str:
    tz = zone(timezone)
    return from_datetime64(when).astimezone(tz).strftime("%H:%M")
