"""An app for any server, with the library around it and its hooks shown in the log."""

import sys

import resilient_wsgi
from resilient_wsgi import deadline, servers

resilient_wsgi.install()
server = servers.detect()


def say(what):
    sys.stderr.write(f"HOOK {what} {server.identity().role}\n")
    sys.stderr.flush()


server.hooks.start.add(lambda: say("start"))
server.hooks.ready.add(lambda: say("ready"))
server.hooks.stop.add(lambda: say("stop"))


class Streamed:
    """Iterates slowly enough to be left, and says when it is closed."""

    def __iter__(self):
        for _ in range(2000):
            yield b"x" * 65536

    def close(self):
        say("closed")


@resilient_wsgi.wrap
def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/stream":
        return Streamed()
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if path == "/errors":
        environ["wsgi.errors"].write("a short message\n")
    return [
        f"{server.name} {server.connections.client_fd(environ)} {deadline.remaining()}".encode()
    ]
