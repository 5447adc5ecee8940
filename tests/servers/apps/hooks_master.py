"""For shared-import: says who it is whenever a hook calls it."""

import sys

from resilient_wsgi import servers

server = servers.detect()


def say(what):
    me = server.identity()
    loaded = server.loaded()
    sys.stderr.write(f"HOOK {what} role={me.role} worker={me.worker} loaded={loaded}\n")
    sys.stderr.flush()


say("import")
server.on_worker_start(lambda: say("start"))
server.on_worker_ready(lambda: say("ready"))
server.on_worker_stop(lambda: say("stop"))
