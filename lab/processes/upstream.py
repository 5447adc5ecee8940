"""The upstream service of the example shop, controlled at run time."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import List

from .base import Process, free_port

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "shop" / "upstream.py"
MODES = ("answer", "hang", "drip", "refuse")


class Upstream(Process):
    """The upstream as a process of its own; `url` is what the shop calls."""

    name = "upstream"

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self._control_port = 0

    @property
    def url(self) -> str:
        """The address that the shop posts to."""
        return f"http://127.0.0.1:{self.port}/offers"

    def command(self) -> List[str]:
        """Return the command line."""
        self.port, self._control_port = free_port(), free_port()
        return [sys.executable, str(SCRIPT), str(self.port), str(self._control_port)]

    def is_ready(self) -> bool:
        """Say whether its control endpoint answers."""
        try:
            self.tell("answer")
        except OSError:
            return False
        return True

    def tell(self, mode: str) -> None:
        """Tell it to "answer", "hang" (accept, never answer), "drip" (a byte now and then) or
        "refuse" (not listen).

        Returns when it does so. Connections that hang already go on hanging, as they would with a
        real upstream.
        """
        if mode not in MODES:
            msg = f"{mode!r} is none of {', '.join(MODES)}"
            raise ValueError(msg)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control_port}/{mode}", method="POST"
        )
        with urllib.request.urlopen(request, timeout=5.0) as response:
            response.read()

    def recover(self) -> None:
        """Tell it to answer again."""
        self.tell("answer")
