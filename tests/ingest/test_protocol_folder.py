"""A protocol is one file in its folder; a wrong one stops the start."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from core.errors import ConfigurationError, DecodeError
from core.sites import AssetKind, DeviceProfile
from ingest import protocols
from ingest.decoded import Decoded


def module(name: str, **attributes: object) -> ModuleType:
    made = ModuleType(f"ingest.protocols.{name}")
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def test_every_file_of_the_folder_is_a_protocol():
    files = {p.stem for p in Path(protocols.__file__).parent.glob("*.py")} - {"__init__"}
    found = protocols.find()
    configured = {f for f in files if hasattr(getattr(protocols, f), "configure")}
    assert len(found.messages) + len(found.files) + len(configured) == len(files)
    assert {"chirpstack", "senml"} <= {p.name for p in found.messages}
    assert {"csv", "parquet"} <= {p.name for p in found.files}
    assert {"application/+/device/+/event/up", "senml/+/+"} <= set(found.topics)


def test_what_our_own_receivers_bring_is_not_asked_of_the_broker(received_at):
    def decode(topic, payload, received_at):
        return Decoded((), [], [])

    module_ = module("own", NAME="own", SOURCES=("own/#",), decode=decode)
    found = protocols.find([module_])
    assert found.topics == ()
    assert found.of("own/device").name == "own"
    assert found.decode("own/device", b"", received_at) == Decoded((), [], [])


def test_a_protocol_may_depend_on_the_description_of_the_city(received_at):
    def configure(profiles):
        return [(f"{p.pattern}/+", lambda *_: Decoded((), [], [])) for p in profiles]

    profile = DeviceProfile("x", "own", "plant", AssetKind.METER, ())
    found = protocols.find([module("own", NAME="own", configure=configure)], [profile])
    assert found.topics == ("plant/+",)
    assert found.of("plant/7").name == "own"


def test_two_of_one_name_stop_the_start():
    twice = [module(n, NAME="x", TOPICS=("t",), decode=print) for n in ("a", "b")]
    with pytest.raises(ConfigurationError, match=r"protocols\.b"):
        protocols.find(twice)


@pytest.mark.parametrize("attributes", [{}, {"NAME": "x"}, {"NAME": "x", "TOPICS": ("t",)}])
def test_half_a_protocol_stops_the_start(attributes):
    with pytest.raises(ConfigurationError, match=r"protocols\.half"):
        protocols.find([module("half", **attributes)])


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("senml/+/+", "senml/demo/g", True),
        ("senml/+/+", "senml/demo", False),
        ("senml/+/+", "senml/demo/g/x", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "b/a", False),
        ("#", "anything/at/all", True),
    ],
)
def test_topics_match_filters_as_in_mqtt(pattern, topic, expected):
    assert protocols.matches(pattern, topic) is expected


def test_a_topic_or_file_of_nobody_is_refused(received_at):
    with pytest.raises(DecodeError, match="No protocol"):
        protocols.find().decode("verdigrid/other", b"{}", received_at)
    with pytest.raises(DecodeError, match=r"only .*\.csv, .*\.parquet"):
        protocols.find().for_file(Path("readings.ods"))
