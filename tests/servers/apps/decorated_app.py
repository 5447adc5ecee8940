"""An app that uses everything of uwsgidecorators, and says when each of its functions runs.

The variable OURS has it import the library before or after uwsgidecorators.
"""

import os

if os.environ.get("OURS") == "before":
    from tests.servers.apps import ours

from uwsgidecorators import cron, lock, postfork, thread, timer

from tests.servers.apps.decorated_task import say, spooled


@postfork
def forked():
    say("postfork")


@timer(1)
def tick(_number):
    say("timer")


@cron(-1, -1, -1, -1, -1)
def each_minute(_number):
    say("cron")


@lock
def locked():
    say("lock")


@thread
def beside(name):
    say(f"thread {name}")


def application(environ, start_response):
    spooled({"name": "task"})
    locked()
    beside("job")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


if os.environ.get("OURS") == "after":
    from tests.servers.apps import ours
if os.environ.get("OURS"):
    application = ours.wrap(application)
