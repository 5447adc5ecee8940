"""Why an instance has nothing of what was asked for: it runs without the library, it is drained, no
app is wrapped.
"""

from __future__ import annotations

from ..errors import Unavailable
from ..readiness.states import DRAINED, LOADING, PAUSING, SERVING
from ..settings.options import PREFIX
from ..shm.snapshot import NotAScoreboard, Snapshot
from . import ready, target


def of_stacks(pid: int) -> str:
    """Return why no worker of the instance of a process answers for its stacks, as far as that is
    known.
    """
    try:
        seen = ready.scoreboard_of(target.master_of(pid))
    except ready.Unwatched as off:
        if off.why.startswith(f"{PREFIX}="):
            return f"resilient_wsgi is off there: {off.why}"
    except target.CannotLook:
        pass
    else:
        return _by_states(seen)
    return "is its app wrapped (INSTALLED_APPS under Django, or wrap()), has it served a request?"


def runs_without(pid: int) -> bool:
    """Return whether nothing of this library can be seen in the instance of a process."""
    try:
        Snapshot.of_process(pid).close()
    except NotAScoreboard:  # of another version
        return False
    except (OSError, Unavailable):
        return True
    return False


def _by_states(seen: Snapshot) -> str:
    states = [row.state for row in seen.workers if row.spawns]
    if DRAINED in states and SERVING not in states:
        return "the instance is drained: its workers serve nothing, and wait to be stopped"
    if SERVING in states:
        return (
            "no app is wrapped there (INSTALLED_APPS under Django, or wrap()), "
            "or REQUEST.MODE is off"
        )
    if LOADING in states or PAUSING in states:
        return "its workers have not loaded their app yet: see `resilient-wsgi ready`"
    return "is its app wrapped (INSTALLED_APPS under Django, or wrap()), has it served a request?"
