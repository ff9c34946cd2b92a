"""A Modbus TCP connection that devices share, and its failures told apart.

pymodbus carries it, not pysunspec2's own client: that one blocks a thread for each device and
gives every request the transaction id 0, so that a late answer passes for the next one's.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

MOST_REGISTERS = 125
"""In one reading, by the Modbus Application Protocol Specification V1.1b3, section 6.3."""

FUNCTIONS = {"holding": 3, "input": 4}
"""The function that reads each table."""

_BUSY_TRIES = 4
_BUSY_PAUSE_S = 0.25


class Refusal(IntEnum):
    """Why a device refuses a reading (the same specification, section 7)."""

    FUNCTION = 1
    ADDRESS = 2
    VALUE = 3
    DEVICE_FAILURE = 4
    ACKNOWLEDGED = 5
    BUSY = 6
    GATEWAY_PATH = 10
    GATEWAY_TARGET = 11


_WORDS: dict[int, str] = {
    Refusal.FUNCTION: "it cannot read this table",
    Refusal.ADDRESS: "it has no such registers",
    Refusal.VALUE: "it does not read so many registers at once",
    Refusal.DEVICE_FAILURE: "it failed",
    Refusal.ACKNOWLEDGED: "it is busy",
    Refusal.BUSY: "it is busy",
    Refusal.GATEWAY_PATH: "the gateway has no way to this unit id",
    Refusal.GATEWAY_TARGET: "nobody answers the gateway at this unit id",
}


class NoAnswerError(Exception):
    """The device did not answer, or with something that is no answer; the connection is closed."""


class RefusedError(Exception):
    """The device answered that it does not give these registers."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: {_WORDS.get(code, f'exception {code}')}.")
        self.code = code


class Line:
    """One connection to ``host:port``. Behind a gateway stand several devices, which take turns.

    timeout_s: for connecting, and for each reading. turn: held by whoever talks, for a whole poll.
    connections: how many there have been, so that a device knows when it may be another one.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.turn = asyncio.Lock()
        self.connections = 0
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None

    async def connect(self) -> None:
        """Connect unless connected; raises NoAnswerError."""
        if self._client is not None and self._client.connected:
            return
        self.close()
        # A client of its own for each connection: the end of an old one would close a new one.
        client = AsyncModbusTcpClient(
            self._host, port=self._port, timeout=self._timeout_s, retries=0, reconnect_delay=0
        )
        try:
            connected = await client.connect()
        except ValueError:  # what is no host name at all
            connected = False
        if not connected:
            client.close()
            raise NoAnswerError(f"{self._host}:{self._port} takes no connection.")
        self._client = client
        self.connections += 1

    async def read(self, unit: int, table: str, address: int, count: int) -> bytes:
        """``count`` registers of a table ("holding" or "input"), two bytes each.

        A busy device is asked again a few times. Raises RefusedError, and NoAnswerError after
        which the connection is closed: what comes late must not be taken for another answer.
        """
        for _ in range(_BUSY_TRIES - 1):
            try:
                return await self._read(unit, table, address, count)
            except RefusedError as error:
                if error.code not in (Refusal.BUSY, Refusal.ACKNOWLEDGED):
                    raise
            await asyncio.sleep(_BUSY_PAUSE_S)
        return await self._read(unit, table, address, count)

    async def _read(self, unit: int, table: str, address: int, count: int) -> bytes:
        what = f"registers {address} to {address + count - 1} of unit {unit}"
        if self._client is None:
            raise NoAnswerError(f"{self._host}:{self._port} is not connected.")
        client, function = self._client, FUNCTIONS[table]
        ask = client.read_input_registers if table == "input" else client.read_holding_registers
        try:
            answer = await ask(address, count=count, device_id=unit)
        except (ModbusException, OSError) as error:
            self.close()
            raise NoAnswerError(f"{self._host}:{self._port} gave no answer for {what}.") from error
        if answer.isError():
            raise RefusedError(what, answer.exception_code)
        if answer.function_code != function or len(answer.registers) != count:
            self.close()
            raise NoAnswerError(f"{self._host}:{self._port} gave a wrong answer for {what}.")
        return b"".join(register.to_bytes(2, "big") for register in answer.registers)

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None
