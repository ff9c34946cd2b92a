"""The MQTT receiver: a session at the broker, and the pipeline that stores what it brings.

QoS 1, a persistent session, and acknowledgements after the commit only. While the store is away
nothing is acknowledged, what is held in memory reaches its bound, and the broker keeps the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from ingest.inbox import Inbox
from ingest.mapping import TagMap
from ingest.messages import Message
from ingest.mqtt_session import Session, SessionSettings
from ingest.overflow import STANDARD as STANDARD_QUOTA
from ingest.overflow import Quota
from ingest.pipeline import BatchSettings, Pipeline, Status
from ingest.protocols import Protocols, find
from ingest.quality import STANDARD, Tolerances
from ingest.sinks import Sink


@dataclass(frozen=True, slots=True)
class MqttSettings(SessionSettings):
    """The session, and how its messages are stored.

    quota: what one device may send; None for whatever comes.
    """

    batch: BatchSettings = field(default_factory=BatchSettings)
    tolerances: Tolerances = STANDARD
    quota: Quota | None = STANDARD_QUOTA


def run_mqtt(
    settings: MqttSettings,
    sink: Sink,
    tag_map: Callable[[], TagMap],
    now: Callable[[], datetime],
    stop: threading.Event,
    on_status: Callable[[Status], None] = lambda _: None,
    *,
    protocols: Protocols | None = None,
) -> Status:
    """Receive until ``stop`` is set, then finish the batch at hand, disconnect and return.

    now: city time. A broker or a store that is away is waited for, for ever, and shows as
    ``last_error`` in the status. Raises ConfigurationError for settings of no use, such as an
    empty client id or a CA file that cannot be read.
    """
    known = _from_a_broker(protocols or find())
    inbox: Inbox[Message] = Inbox()
    # What is missing here may have gone to another receiver of the share.
    tolerances = replace(settings.tolerances, neighbours=not settings.share)

    def beat() -> None:
        for name in sorted({protocol.name for protocol in known.messages}):
            sink.beat(f"{name}:{settings.client_id}", now())

    pipeline = Pipeline(
        known,
        sink,
        tag_map,
        lambda messages: session.acknowledge(messages),
        batch=settings.batch,
        tolerances=tolerances,
        quota=settings.quota,
        beat=beat,
        on_status=on_status,
    )
    session = Session(
        settings,
        known.topics,
        now,
        inbox.put,
        lambda connected, reason: pipeline.note(connected=connected, last_error=reason),
    )
    try:
        pipeline.run(inbox, stop)
    finally:
        session.close()
    pipeline.note(connected=False)
    return pipeline.status


def _from_a_broker(protocols: Protocols) -> Protocols:
    """Only what is subscribed to: under a wide filter a client could else play a receiver of ours.

    Those have checked who speaks; a message on their topics at the broker was checked by nobody.
    """
    spoken = tuple(replace(one, sources=()) for one in protocols.messages if one.topics)
    return Protocols(spoken, ())
