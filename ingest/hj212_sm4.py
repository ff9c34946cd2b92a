"""EXPERIMENTAL, from secondary sources: the encrypted data part of HJ 212-2025.

Not written after the standard's text, which was not at hand. What implementations found in public
agree on: SM4 (GB/T 32907) in ECB mode with a key of 16 bytes and no padding scheme, over what
stands in CP between ``&&`` and ``&&``, for the data commands 2000 to 2999 and for 3020. They do
not agree on how bytes become text and how the last block is filled: hexadecimal and Base64 are
read here, and blanks or NUL behind the text are dropped; what is written is hexadecimal with
blanks. It has not met a real device. ECB hides values from a reader and proves nothing about who
sent them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from core.errors import DecodeError
from ingest.hj212_frame import Packet

BLOCK = 16
_HEX = re.compile(r"([0-9A-Fa-f]{32})+")


def encrypts(packet: Packet) -> bool:
    """Whether the edition of 2025 wants the CP of such a packet encrypted."""
    return packet.version >= 2 and (packet.cn.startswith("2") or packet.cn == "3020")


def encrypted(packet: Packet, key: bytes) -> Packet:
    """``packet`` with its CP encrypted."""
    plain = packet.cp.encode()
    plain += b" " * (-len(plain) % BLOCK)
    encryptor = _cipher(key).encryptor()
    return replace(packet, cp=(encryptor.update(plain) + encryptor.finalize()).hex().upper())


def decrypted(packet: Packet, key: bytes) -> Packet:
    """``packet`` with its CP in the clear; raises DecodeError, also when it was not encrypted."""
    decryptor = _cipher(key).decryptor()
    plain = decryptor.update(_bytes(packet.cp)) + decryptor.finalize()
    try:
        text = plain.decode("utf-8").rstrip(" \0")
    except UnicodeDecodeError as error:
        raise DecodeError("The data part cannot be decrypted with the station's key.") from error
    if not text.isprintable() or "=" not in text:
        raise DecodeError("The data part cannot be decrypted with the station's key.")
    return replace(packet, cp=text)


def _bytes(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text) if _HEX.fullmatch(text) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("The station has a key, and its data part is not encrypted.") from error
    if not raw or len(raw) % BLOCK:
        raise DecodeError("The encrypted data part is no whole number of blocks.")
    return raw


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    return Cipher(algorithms.SM4(key), modes.ECB())  # noqa: S305 - the standard's choice
