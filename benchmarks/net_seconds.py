"""`restorer WORDS ...` in this process, and how long its net ran: the seconds are the last line that is printed.

    python benchmarks/net_seconds.py derain photo.jpg -o clean.jpg

Nothing of the command is another than without this; its net is watched from the moment that it is loaded.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn
from turns import clock

from restorer.cli.app import app
from restorer.restore import Restorer


class Watch:
    """Adds up the time between a net's being asked and its having answered: ``seconds``."""

    def __init__(self) -> None:
        self.seconds = self.asked = 0.0

    def see(self, net: nn.Module, device: torch.device) -> None:
        """Watch this net, too."""
        net.register_forward_pre_hook(lambda *words: self._begin(device))
        net.register_forward_hook(lambda *words: self._end(device))

    def _begin(self, device: torch.device) -> None:
        self.asked = clock(device)

    def _end(self, device: torch.device) -> None:
        self.seconds += clock(device) - self.asked


def main() -> None:
    watch, load = Watch(), Restorer.from_pretrained

    def watched(*words: Any, **more: Any) -> Restorer:
        restorer = load(*words, **more)
        watch.see(restorer.denoiser.net, restorer.device)
        return restorer

    Restorer.from_pretrained = watched
    try:
        app(sys.argv[1:], prog_name="restorer")
    except SystemExit as left:
        if left.code:
            raise
    print(watch.seconds)


if __name__ == "__main__":
    main()
