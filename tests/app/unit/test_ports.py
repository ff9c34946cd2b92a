"""A busy port is told before anything is started on it."""

from __future__ import annotations

import socket

import pytest

from app.ports import require_free
from core.errors import ServiceError


def test_a_busy_port_is_named_with_its_purpose_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as caught:
            require_free("127.0.0.1", port, purpose="the web application", setting="VERDIGRID_PORT")
    message = str(caught.value)
    assert str(port) in message
    assert "the web application" in message
    assert "set VERDIGRID_PORT to a free port" in message
    require_free("127.0.0.1", port, purpose="x", setting="y")  # it is free again


def test_a_port_just_closed_by_a_server_with_clients_is_free(free_port: int) -> None:
    """TIME_WAIT does not count: a restart would otherwise wait for a minute."""
    with socket.create_server(("127.0.0.1", free_port)) as server:
        client = socket.create_connection(("127.0.0.1", free_port))
        served, _ = server.accept()
        served.close()
        client.close()
    require_free("127.0.0.1", free_port, purpose="x", setting="y")


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_sentence_too(host: str, free_port: int) -> None:
    with pytest.raises(ServiceError, match=rf"web .*{host}:{free_port} .*set VERDIGRID_PORT"):
        require_free(host, free_port, purpose="the web application", setting="VERDIGRID_PORT")
