"""Who shows downloads: nobody, unless told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Row = Callable[[int], None]
"""What shows one file that comes: so many of its bytes are here."""
Shower = Callable[[int | None], Row]
"""What begins the row of a file of so many bytes, if that is known."""


def _unseen(total: int | None) -> Row:
    return lambda done: None


_shower: ContextVar[Shower] = ContextVar("shower", default=_unseen)


@contextmanager
def shown_by(shower: Shower) -> Iterator[None]:
    """Within, downloads are shown by this."""
    token = _shower.set(shower)
    try:
        yield
    finally:
        _shower.reset(token)


def bar_class() -> type:
    """What the Hub's client takes for its ``tqdm_class``: as much of tqdm as it uses, shown as was told.

    Also where nobody is shown anything: the client's own bar would write where results may be.
    """
    begin = _shower.get()

    class Bar:
        format_dict: dict[str, Any] = {}  # noqa: RUF012  what tqdm has and nobody here changes

        def __init__(self, *words: Any, total: int | None = None, initial: int = 0, **more: Any) -> None:
            self.total, self.n = total, initial
            self._show = begin(total)
            self._show(initial)

        def update(self, n: int = 1) -> None:
            self.n += n
            self._show(self.n)

        def reset(self, total: int | None = None) -> None:
            self.n, self.total = 0, total if total is not None else self.total
            self._show(0)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *fault: object) -> None:
            self.close()

        def close(self) -> None: ...
        def refresh(self, *words: Any, **more: Any) -> None: ...
        def set_description(self, *words: Any, **more: Any) -> None: ...
        def set_description_str(self, *words: Any, **more: Any) -> None: ...
        def set_postfix_str(self, *words: Any, **more: Any) -> None: ...

    return Bar
