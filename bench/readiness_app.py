"""An app whose load goes wrong, in the way and as often as files in a folder say; each is used up by one load."""

import os
import sys
import time

TOKENS = os.environ.get("TOKENS", "")


def take():
    """Return the kind of failure of one token, None if there is none left."""
    for name in sorted(os.listdir(TOKENS)) if TOKENS else ():
        try:
            os.unlink(os.path.join(TOKENS, name))
        except FileNotFoundError:
            continue
        return name.partition("-")[2]
    return None


def go_wrong(kind):
    if kind == "import":
        import no_such_module  # noqa: F401
    elif kind == "syntax":
        compile("def (", "app.py", "exec")
    elif kind == "configured":
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured("SECRET_KEY must not be empty")
    elif kind == "memory":
        raise MemoryError
    elif kind == "exit":
        sys.exit(3)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "killed":
        os.kill(os.getpid(), 9)
    elif kind == "crash":
        import faulthandler

        faulthandler._sigsegv()  # noqa: SLF001


KIND = os.environ.get("ALWAYS") or take()
go_wrong(KIND)


def answer(_environ, start_response):
    import uwsgi

    body = b"%d" % uwsgi.worker_id()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", body.decode())])
    time.sleep(float(os.environ.get("WORK", "0")))
    return [body]


if KIND == "callable":
    application = "this is text"
elif KIND != "attribute":
    application = answer
