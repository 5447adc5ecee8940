"""An app that imports what overwrites uWSGI's hooks, and answers who it is."""

import sys

import uwsgi
import uwsgidecorators

from resilient_wsgi import servers, wrap

earlier = getattr(uwsgi, "atexit", None)


@uwsgidecorators.postfork
def theirs():
    sys.stderr.write("HOOK theirs\n")
    sys.stderr.flush()


def chained_by_hand():
    sys.stderr.write("HOOK their stop\n")
    sys.stderr.flush()
    if earlier is not None:
        earlier()


uwsgi.atexit = chained_by_hand


@wrap
def application(environ, start_response):
    server = servers.detect()
    start_response("200 OK", [("Content-Type", "text/plain")])
    me, harakiri = server.identity(), server.harakiri.seconds()
    threads, has_app = server.configuration.threads(), server.supervision.has_app()
    return [f"{me.role} {me.worker} {harakiri} {threads} {has_app}".encode()]
