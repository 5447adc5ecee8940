"""Import target of `shared-import`: puts everything in place in the uWSGI master, before the first
fork.

`application` is here if the environment variable RESILIENT_WSGI_APPLICATION names an app: `module =
resilient_wsgi.uwsgi:application` serves it. uWSGI takes the callable out of this module's
dictionary when it would load the app, and by then `shared-import` has imported the module long ago;
so it is put there just before. Where that fails there is none, and uWSGI has no app, as with any
other load that fails.
"""

from __future__ import annotations

import os
import sys

from . import servers
from .app import load
from .installation import install_in_master
from .readiness.checks import framework_problems
from .servers.uwsgi.apps import VARIABLE


def _urlconf_problem() -> str:
    from .django import readiness

    return readiness.urlconf_problem()


framework_problems["django"] = _urlconf_problem
installation = install_in_master()


def _load_application() -> None:
    try:
        globals()["application"] = load(os.environ[VARIABLE])
    except Exception:
        # as uWSGI prints what is raised by a module that it loads itself
        sys.excepthook(*sys.exc_info())


if VARIABLE in os.environ:
    _server = servers.detect()
    if _server.configuration.loads_in_worker() and not _server.identity().worker:
        # after readiness has paused and set its traps: it was added before
        _server.hooks.start.add(_load_application)
    else:
        _load_application()
