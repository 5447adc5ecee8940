"""Fixtures for the tests of apps that use the library; pytest finds them by itself.

Their names begin with `resilient_wsgi_`, so that they collide with none of yours. What they do is
in `resilient_wsgi.testing`, for other test runners.
"""

from __future__ import annotations

from typing import Iterator, List, Tuple

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import Event


@pytest.fixture
def resilient_wsgi_events() -> Iterator[List[Event]]:
    """Return a list that collects the events of the test."""
    from .testing import captured_events

    with captured_events() as events:
        yield events


@pytest.fixture
def resilient_wsgi_off() -> Iterator[None]:
    """Switch the whole library off for the test."""
    from .testing import off

    with off():
        yield


@pytest.fixture
def resilient_wsgi_hung_server() -> Iterator[Tuple[str, int]]:
    """Return the host and port of a server that accepts connections and never answers."""
    from .testing import hung_server

    with hung_server() as address:
        yield address


@pytest.fixture
def resilient_wsgi_stalled_pipe() -> Iterator[int]:
    """Return the writing end of a pipe that is full and that nothing reads."""
    from .testing import stalled_pipe

    with stalled_pipe() as fd:
        yield fd
