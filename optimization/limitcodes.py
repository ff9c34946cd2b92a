"""What can hold a resource back, as small numbers with words, so that arrays can keep it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class Limit(IntEnum):
    """What decides on a resource at a step, or on the price of a step."""

    PRICE = 0
    MOST_POWER = 1
    LEAST_POWER = 2
    MOST_ENERGY = 3
    LEAST_ENERGY = 4
    STATE = 5
    LEAST_ON = 6
    MIN_UP = 7
    MIN_DOWN = 8
    LONGEST_RUN = 9
    STARTS = 10
    RAMP_UP = 11
    RAMP_DOWN = 12
    CIRCLE = 13
    NETWORK = 14
    RESERVE = 15
    CHANGE = 16
    IMPORT_LIMIT = 17
    EXPORT_LIMIT = 18
    PEAK = 19
    PEAK_VALLEY = 20
    CALL = 21
    POSITION = 22
    EXCLUSIVE = 23
    IMPORT = 24
    EXPORT = 25
    RESOURCE = 26
    NOTHING_THERE = 27
    SPREAD = 28

    @property
    def label(self) -> str:
        """Its name in programs, such as ``export_limit``."""
        return self.name.lower()


WORDS: Mapping[Limit, tuple[str, str]] = MappingProxyType(
    {
        Limit.PRICE: ("the price", "价格"),
        Limit.MOST_POWER: ("its power limit", "功率上限"),
        Limit.LEAST_POWER: ("its power limit", "功率下限"),
        Limit.MOST_ENERGY: ("its upper energy bound", "能量上限"),
        Limit.LEAST_ENERGY: ("its lower energy bound", "能量下限"),
        Limit.STATE: ("its state on or off", "启停状态"),
        Limit.LEAST_ON: ("its least power while on", "最小出力"),
        Limit.MIN_UP: ("its minimum up time", "最短运行时间"),
        Limit.MIN_DOWN: ("its minimum down time", "最短停机时间"),
        Limit.LONGEST_RUN: ("its longest run", "最长连续运行时间"),
        Limit.STARTS: ("its number of starts", "启动次数"),
        Limit.RAMP_UP: ("its ramp upwards", "上爬坡限制"),
        Limit.RAMP_DOWN: ("its ramp downwards", "下爬坡限制"),
        Limit.CIRCLE: ("the apparent power of its inverter", "逆变器视在功率"),
        Limit.NETWORK: ("a limit of the network", "电网限值"),
        Limit.RESERVE: ("the room and energy kept for reserve", "备用容量与能量"),
        Limit.CHANGE: ("the plan before", "上一计划"),
        Limit.IMPORT_LIMIT: ("the import limit of the substation", "变电站受电上限"),
        Limit.EXPORT_LIMIT: ("the export limit of the substation", "变电站外送上限"),
        Limit.PEAK: ("the monthly peak", "月度最大需量"),
        Limit.PEAK_VALLEY: ("the peak-valley target", "峰谷差目标"),
        Limit.CALL: ("a call of demand response", "需求响应指令"),
        Limit.POSITION: ("the promised exchange", "承诺交换功率"),
        Limit.EXCLUSIVE: ("raising and lowering exclude each other", "升降功率互斥"),
        Limit.IMPORT: ("importing at the tariff", "按电价购电"),
        Limit.EXPORT: ("exporting at the feed-in price", "按上网电价外送"),
        Limit.RESOURCE: ("a resource that is free to answer", "可调节资源"),
        Limit.SPREAD: ("what the exchange may turn out to be", "交换功率的预测偏差"),
        Limit.NOTHING_THERE: ("nothing it could do then", "此时无可调功率"),
    }
)
"""English and Chinese."""

_OF_BLOCK: Mapping[str, Limit] = MappingProxyType(
    {
        "power only while on": Limit.STATE,
        "least power while on": Limit.LEAST_ON,
        "ramp up": Limit.RAMP_UP,
        "ramp down": Limit.RAMP_DOWN,
        "change": Limit.CHANGE,
        "import limit": Limit.IMPORT_LIMIT,
        "export limit": Limit.EXPORT_LIMIT,
        "peak": Limit.PEAK,
        "peak-valley": Limit.PEAK_VALLEY,
        "below the highest": Limit.PEAK_VALLEY,
        "above the lowest": Limit.PEAK_VALLEY,
        "position": Limit.POSITION,
    }
)
_OF_PREFIX = (
    ("call ", Limit.CALL),
    ("case ", Limit.SPREAD),
    ("peak of case ", Limit.PEAK),
    ("reserve ", Limit.RESERVE),
    ("room ", Limit.RESERVE),
    ("energy up ", Limit.RESERVE),
    ("energy down ", Limit.RESERVE),
)


def of_block(name: str) -> Limit | None:
    """The limit that a block of rows of the model stands for; None for plain accounting."""
    found = _OF_BLOCK.get(name)
    if found is not None:
        return found
    return next((limit for prefix, limit in _OF_PREFIX if name.startswith(prefix)), None)
