"""An app whose load goes wrong, in the way and as often as files in a folder say.

Each file is used up by one load, unless its name begins with "ever". ONLY names the workers that
look there at all.
"""

# mypy: ignore-errors

import os
import sys
import time

TOKENS = os.environ.get("TOKENS", "")
ONLY = os.environ.get("ONLY", "")


def take():
    """Return the kind of failure of one token, None if there is none left."""
    if ONLY:
        import uwsgi

        if str(uwsgi.worker_id()) not in ONLY:
            return None
    for name in sorted(os.listdir(TOKENS)) if TOKENS else ():
        number, _, kind = name.partition("-")
        try:
            if number != "ever":
                os.unlink(os.path.join(TOKENS, name))
        except FileNotFoundError:
            continue
        return kind
    return None


def run_short():
    """Have the operating system refuse one large piece of memory; small ones are left."""
    import resource

    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + (32 << 20), resource.RLIM_INFINITY)
    )
    bytearray(64 << 20)


def starve():
    """Use up all memory that the operating system gives, in ever smaller pieces, keep it, and go on
    until Python gives up.
    """
    import builtins
    import resource

    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), resource.RLIM_INFINITY)
    )
    builtins.hoard = hoard = []
    for size in (1 << 20, 1 << 16, 1 << 12, 600):
        try:
            while True:
                hoard.append(bytearray(size))
        except MemoryError:  # noqa: PERF203
            pass
    while True:
        hoard.append([0] * 8)


def go_wrong(kind):  # noqa: C901 - a list of what may happen
    if kind == "import":
        import no_such_module  # noqa: F401
    elif kind == "syntax":
        compile("def (", "app.py", "exec")
    elif kind == "configured":
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured("SECRET_KEY must not be empty")
    elif kind == "memory":
        raise MemoryError
    elif kind == "short":
        run_short()
    elif kind == "starved":
        starve()
    elif kind == "exit":
        sys.exit(3)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "killed":
        os.kill(os.getpid(), 9)
    elif kind == "crash":
        import faulthandler

        faulthandler._sigsegv()  # noqa: SLF001


if os.environ.get("LOAD_MB"):
    b"x" * (int(os.environ["LOAD_MB"]) << 20)  # what a load takes and gives back

KIND = os.environ.get("ALWAYS") or take()
go_wrong(KIND)


def answer(_environ, start_response):
    try:
        import uwsgi

        body = b"%d" % uwsgi.worker_id()
    except ImportError:
        body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", body.decode())])
    time.sleep(float(os.environ.get("WORK", "0")))
    return [body]


if KIND == "callable":
    application = "this is text"
elif KIND != "attribute":
    application = answer
