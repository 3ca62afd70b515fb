"""Exception -> sentence and exit code, in one table.

0  every picture done or skipped          4  model not found, not readable, or failing its checksum
1  some pictures failed                   5  out of memory, no device, no compiler
2  usage error                          130  interrupted
3  no input found, or none readable
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from restorer.errors import DeviceError, ImageError, InputError, ModelError, RestorerError, UsageError

DONE = 0
SOME_FAILED = 1
NO_INPUT = 3
DAMAGED_MODEL = 4
NO_DEVICE = 5


class Answer(NamedTuple):
    """What the program says and returns for one kind of exception."""

    code: int
    sentence: Callable[[BaseException], str]


def answer(error: BaseException) -> Answer:
    """The row of ``ANSWERS`` that fits best."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def _memory(error: BaseException) -> str:
    return "Not enough memory; close other programs, or try --dtype bf16 or another --device."


def _interrupted(error: BaseException) -> str:
    return "Interrupted: what was in hand is dropped, what was written stands."


def _unexpected(error: BaseException) -> str:
    reason = f"{type(error).__name__}: {error}".strip().rstrip(".:")
    return f"Unexpected {reason}; see where with -vv, and report it."


ANSWERS: dict[type[BaseException], Answer] = {
    UsageError: Answer(2, str),
    InputError: Answer(NO_INPUT, str),
    ImageError: Answer(SOME_FAILED, str),
    ModelError: Answer(DAMAGED_MODEL, str),
    DeviceError: Answer(NO_DEVICE, str),
    RestorerError: Answer(SOME_FAILED, str),
    MemoryError: Answer(NO_DEVICE, _memory),
    KeyboardInterrupt: Answer(130, _interrupted),
    BaseException: Answer(SOME_FAILED, _unexpected),
}
