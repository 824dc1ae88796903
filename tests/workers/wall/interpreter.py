"""An interpreter of classic BPF, which runs a filter for any machine as the kernel of that machine would."""

from __future__ import annotations

import struct
from typing import Final

LOAD: Final = 0x20
AND: Final = 0x54
JUMP_EQUAL: Final = 0x15
JUMP_GREATER_EQUAL: Final = 0x35
JUMP_ANY_BIT: Final = 0x45
RETURN: Final = 0x06


def run(program: bytes, *, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Return the action that the program takes on a system call."""
    padded = [argument & (2**64 - 1) for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = place = 0
    while True:
        operation, if_true, if_false, constant = code[place]
        place += 1
        if operation == RETURN:
            return int(constant)
        if operation == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif operation == AND:
            accumulator &= constant
        elif operation == JUMP_EQUAL:
            place += if_true if accumulator == constant else if_false
        elif operation == JUMP_GREATER_EQUAL:
            place += if_true if accumulator >= constant else if_false
        elif operation == JUMP_ANY_BIT:
            place += if_true if accumulator & constant else if_false
        else:
            raise AssertionError(f"the kernel knows no operation {operation:#x} here")
