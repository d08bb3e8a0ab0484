"""Good pictures made bad: seeded, so that a failure can be repeated by its number."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping

HEADER = 64
"""Bytes at the start of a file in which formats keep sizes and counts."""


def mutate(pictures: Mapping[str, bytes], number: int) -> tuple[str, bytes]:
    """The mutation of that number → what was done, the bytes."""
    dice = random.Random(number)
    name = dice.choice(sorted(pictures))
    how = dice.choice(MUTATIONS)
    other = pictures[dice.choice(sorted(pictures))]
    return f"{how.__name__} of {name}", how(bytearray(pictures[name]), other, dice)


def flip_bits(data: bytearray, _: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def cut_short(data: bytearray, _: bytes, dice: random.Random) -> bytes:
    return bytes(data[: dice.randrange(len(data))])


def cut_out(data: bytearray, _: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    del data[start : start + dice.randrange(1, 200)]
    return bytes(data)


def splice(data: bytearray, other: bytes, dice: random.Random) -> bytes:
    """The start of one picture and the end of another."""
    return bytes(data[: dice.randrange(len(data))]) + other[dice.randrange(len(other)) :]


def paste(data: bytearray, other: bytes, dice: random.Random) -> bytes:
    """A piece of another picture, or noise, over a piece of this one."""
    start, size = dice.randrange(len(data)), dice.randrange(1, 300)
    where = dice.randrange(len(other))
    data[start : start + size] = dice.choice((other[where : where + size], dice.randbytes(size)))
    return bytes(data)


def change_header(data: bytearray, _: bytes, dice: random.Random) -> bytes:
    """A number in the header becomes one that decoders dislike."""
    number = dice.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, dice.getrandbits(32)))
    code, bits = dice.choice((("B", 8), (">H", 16), ("<H", 16), (">I", 32), ("<I", 32)))
    value = struct.pack(code, number % (1 << bits))
    start = dice.randrange(max(1, min(HEADER, len(data)) - len(value)))
    data[start : start + len(value)] = value
    return bytes(data)


def repeat(data: bytearray, _: bytes, dice: random.Random) -> bytes:
    """A piece of the picture again and again, as broken uploads do it."""
    start, size = dice.randrange(len(data)), dice.randrange(1, 100)
    return bytes(data[:start] + data[start : start + size] * dice.randrange(2, 20) + data[start:])


MUTATIONS: tuple[Callable[[bytearray, bytes, random.Random], bytes], ...] = (
    flip_bits,
    cut_short,
    cut_out,
    splice,
    paste,
    change_header,
    repeat,
)
