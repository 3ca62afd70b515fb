"""Restore damaged pictures with diffusion models.

PIL, numpy or tensor in, the same kind out:

    from restorer import Restorer
    Restorer.from_pretrained("rddm-derain-tiny")(image, seed=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restorer.restore import Restorer

__all__ = ["Restorer", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # torch takes a second or two to import; `restorer --help` must not pay for it.
    if name == "Restorer":
        from restorer.restore import Restorer

        return Restorer
    raise AttributeError(f"module 'restorer' has no attribute {name!r}")
