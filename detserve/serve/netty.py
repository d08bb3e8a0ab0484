"""The one class of Java's that is ours: what size netty reads bodies by.

TorchServe tells netty to read 4,096 bytes at a time, a constant in its code, so that a picture of 2.5 MB takes 600
reads, each with its walk through netty's handlers: 4 ms of processor. So before TorchServe's jar on the class path lies
a class by the name of the one it asks for, which is nothing but netty's own default: reads grow to 64 KiB while a body
fills them, and shrink again. A slow sender, whose bytes come one by one, still takes no more memory for each.

    package io.netty.channel;
    public class FixedRecvByteBufAllocator extends AdaptiveRecvByteBufAllocator {
        public FixedRecvByteBufAllocator(int size) { super(size, size, 65536); }
    }

It is written as bytecode, by chapter 4 of the Java Virtual Machine Specification: no compiler is needed to serve.
"""

from __future__ import annotations

import struct
from pathlib import Path

NAME = "io/netty/channel/FixedRecvByteBufAllocator"
PARENT = "io/netty/channel/AdaptiveRecvByteBufAllocator"
MOST_BYTES = 65536
"""Of one read."""
_JAVA_8 = 52
_PUBLIC, _SUPER = 0x0001, 0x0020


def write_classes(folder: Path) -> None:
    """Write the class below that folder, where Java looks for it by its package."""
    path = (folder / NAME).with_suffix(".class")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(allocator())


def allocator() -> bytes:
    """The class file."""
    constants = [
        _class(2),
        _text(NAME),
        _class(4),
        _text(PARENT),
        _text("<init>"),
        _text("(I)V"),
        _text("Code"),
        struct.pack(">BHH", 10, 3, 9),  # 8, a method: the parent's constructor
        struct.pack(">BHH", 12, 5, 10),  # 9, its name and its type
        _text("(III)V"),
        struct.pack(">Bi", 3, MOST_BYTES),  # 11
    ]
    # aload_0, iload_1, iload_1, ldc 11, invokespecial 8, return
    instructions = bytes([0x2A, 0x1B, 0x1B, 0x12, 11, 0xB7, 0, 8, 0xB1])
    stack, variables = 4, 2
    code = struct.pack(">HHI", stack, variables, len(instructions)) + instructions + struct.pack(">HH", 0, 0)
    constructor = struct.pack(">HHHH", _PUBLIC, 5, 6, 1) + struct.pack(">HI", 7, len(code)) + code
    return b"".join(
        [
            struct.pack(">IHH", 0xCAFEBABE, 0, _JAVA_8),
            struct.pack(">H", len(constants) + 1),
            *constants,
            struct.pack(">HHH", _PUBLIC | _SUPER, 1, 3),
            struct.pack(">HH", 0, 0),  # interfaces, fields
            struct.pack(">H", 1) + constructor,
            struct.pack(">H", 0),
        ]
    )


def _class(name: int) -> bytes:
    return struct.pack(">BH", 7, name)


def _text(value: str) -> bytes:
    return struct.pack(">BH", 1, len(value)) + value.encode("ascii")
