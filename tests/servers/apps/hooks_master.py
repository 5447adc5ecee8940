"""For shared-import: says who it is whenever a hook calls it."""

import sys

from resilient_wsgi import servers

server = servers.detect()


def say(what):
    me = server.identity()
    loaded = server.supervision.has_app()
    sys.stderr.write(f"HOOK {what} role={me.role} worker={me.worker} loaded={loaded}\n")
    sys.stderr.flush()


say("import")
server.hooks.start.add(lambda: say("start"))
server.hooks.ready.add(lambda: say("ready"))
server.hooks.stop.add(lambda: say("stop"))
