"""Invented names, in both languages: nobody and nothing here exists.

Qinghe (清禾) is no city. Its enterprises are plausible for the SimBench profile that they
draw, and belong to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

CITY_EN = "Qinghe demonstration city (simulated)"
CITY_ZH = "清禾示范市（模拟）"
PROVINCE = "内蒙古"


@dataclass(frozen=True)
class Business:
    """An enterprise before it has meters. ``size``: how many distribution areas it draws from.

    ``anchors``: profiles of medium-voltage loads that make up its core, if any.
    """

    id: str
    name_en: str
    name_zh: str
    sector: str
    size: int
    anchors: tuple[int, ...] = ()


BUSINESSES = (
    Business("ent-01", "Qinghe Central Hospital", "清禾中心医院", "health", 0, (0,)),
    Business("ent-02", "Qinghe Trade Centre", "清禾商贸中心", "retail", 1, (111, 119, 121)),
    Business("ent-03", "Qinghe Dairy Farms", "清禾乳业牧场", "agriculture", 2, (112, 116)),
    Business("ent-04", "Qinghe Logistics Park", "清禾物流园", "logistics", 1, (113, 115, 118)),
    Business(
        "ent-05", "Beihe Ceramics Works", "北禾陶瓷厂", "building materials", 2, (114, 117, 120)
    ),
    Business("ent-06", "Qingyuan Machinery", "清源机械", "machinery", 5),
    Business("ent-07", "Hemu Woollen Textiles", "禾牧毛纺", "textiles", 4),
    Business("ent-08", "Luyuan Food Processing", "绿原食品加工", "food", 4),
    Business("ent-09", "Qinghe University of Technology", "清禾理工大学", "education", 5),
    Business("ent-10", "Xingshuo Electronics", "星朔电子", "electronics", 4),
    Business("ent-11", "Qinghe Water Supply", "清禾供水公司", "utilities", 3),
    Business("ent-12", "Yunmu Data Services", "云牧数据服务", "data centres", 3),
    Business("ent-13", "Beichen Auto Parts", "北辰汽车零部件", "machinery", 4),
    Business("ent-14", "Caoyuan Pharmaceuticals", "草原制药", "chemicals", 3),
    Business("ent-15", "Hexin Plastics", "禾欣塑料", "chemicals", 3),
    Business("ent-16", "Qinghe Grand Hotel", "清禾大酒店", "hospitality", 2),
    Business("ent-17", "Muge Cold Storage", "牧歌冷链", "logistics", 3),
    Business("ent-18", "Songlan Furniture", "松岚家具", "wood", 3),
    Business("ent-19", "Jinhe Grain and Oil", "金禾粮油", "food", 3),
    Business("ent-20", "Qinghe Property Services", "清禾物业服务", "real estate", 5),
)

AREAS = {
    "lv_rural1": ("Village distribution area", "村镇台区"),
    "lv_rural2": ("Rural distribution area", "农村台区"),
    "lv_rural3": ("Rural distribution area", "农村台区"),
    "lv_semiurb4": ("Suburban distribution area", "城郊台区"),
    "lv_semiurb5": ("Suburban distribution area", "城郊台区"),
    "lv_urban6": ("Urban distribution area", "城区台区"),
    "G2-A": ("Hospital supply", "医院配电"),
    "G3-M": ("Shopping centre supply", "商场配电"),
    "G4-M": ("Logistics hall supply", "物流库配电"),
    "L2-M": ("Dairy farm supply", "牧场配电"),
    "BL-H": ("Kiln supply", "窑炉配电"),
}
"""SimBench load profile -> what the meter is called."""

STATIONS = (
    ("People's Square", "人民广场", "centre"),
    ("North Gate", "北门", "traffic"),
    ("Railway Station", "火车站", "traffic"),
    ("Heat Plant East", "热电厂东", "industry"),
    ("Industrial Park", "工业园区", "industry"),
    ("University", "大学城", "residential"),
    ("Riverside", "滨河", "residential"),
    ("South Lake", "南湖", "residential"),
    ("West Suburb", "西郊", "suburb"),
    ("Old Town", "老城", "centre"),
    ("Airport Road", "机场路", "traffic"),
    ("Grassland Park", "草原公园", "background"),
)
"""Air stations: English name, Chinese name, surroundings."""
