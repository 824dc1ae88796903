"""Assemble classic BPF for seccomp: blocks of instructions, each of which decides about one system call."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Instruction = tuple[int, int, int, int]
"""Operation, steps to skip if true, steps to skip if false, constant."""
Code = list[Instruction]

_LOAD: Final = 0x20  # a word of `struct seccomp_data`
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_JUMP_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_NUMBER_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
_ERRNO: Final = 0x00050000
NOTHING: Final = _ERRNO
"""The action that does nothing and reports success."""


def error(number: int) -> int:
    """Return the action that fails a system call with this error."""
    return _ERRNO | number


def decide(action: int) -> Code:
    """Return the code that takes this action."""
    return [(_RETURN, 0, 0, action)]


def arguments(number: int, words: Iterable[int], then: Code, otherwise: Code) -> Code:
    """Go on with `then` if the low word of an argument is one of `words`.

    The kernel itself looks at no more than the low word of an int.
    """
    code: Code = [(_LOAD, 0, 0, _low(number))]
    for word in words:
        code += [(_JUMP_EQUAL, 0, len(then), word), *then]
    return code + otherwise


def bits(number: int, mask: int, then: Code, otherwise: Code) -> Code:
    """Go on with `then` if any bit of `mask` is set in the low word of an argument."""
    return [(_LOAD, 0, 0, _low(number)), (_JUMP_ANY_BIT, 0, len(then), mask), *then, *otherwise]


def masked(number: int, mask: int, words: Iterable[int], then: Code, otherwise: Code) -> Code:
    """Go on with `then` if the low word of an argument, under `mask`, is one of `words`."""
    and_constant = 0x54
    code: Code = [(_LOAD, 0, 0, _low(number)), (and_constant, 0, 0, mask)]
    for word in words:
        code += [(_JUMP_EQUAL, 0, len(then), word), *then]
    return code + otherwise


def whole(number: int, value: int, then: Code, otherwise: Code) -> Code:
    """Go on with `then` if all 64 bits of an argument are `value`: a pointer, or a long."""
    high: Code = [(_LOAD, 0, 0, _low(number) + 4), (_JUMP_EQUAL, 0, len(then), value >> 32), *then]
    return [(_LOAD, 0, 0, _low(number)), (_JUMP_EQUAL, 0, len(high), value & 0xFFFFFFFF), *high, *otherwise]


def program(audit_arch: int, first_unknown: int, unknown: int, rules: Iterable[tuple[int, Code]]) -> bytes:
    """Return the program that applies the code of each rule to its number, and allows all others.

    A process of another architecture is killed. Numbers from `first_unknown` on, among them those of the
    x32 interface, meet the action `unknown`.
    """
    code: Code = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_JUMP_EQUAL, 1, 0, audit_arch),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_JUMP_GREATER_EQUAL, 0, 1, first_unknown),
        (_RETURN, 0, 0, unknown),
    ]
    for number, block in rules:
        code += [(_JUMP_EQUAL, 0, len(block), number), *block]
    code += decide(ALLOW)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _low(number: int) -> int:
    return _ARGUMENTS_OFFSET + 8 * number
