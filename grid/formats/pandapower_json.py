"""pandapower's JSON: everything a network knows, and the format networks are stored in."""

from __future__ import annotations

import pandapower

from core.errors import NetworkError
from grid import network as network_model
from grid.network import Network

NAME = "pandapower JSON"
EXTENSIONS = (".json",)


def read(data: bytes) -> Network:
    """The network of pandapower's JSON; raises NetworkError when it cannot be read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NetworkError("The network model is no text in UTF-8, so it is no JSON.") from error
    return network_model.read(text)


def write(network: Network) -> bytes:
    """``network`` as pandapower's JSON in UTF-8."""
    return str(pandapower.to_json(network.net, None, indent=None)).encode()
