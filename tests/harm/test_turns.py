"""Several threads that install and uninstall at once, as requests may: each in its turn, and nobody
waits for ever.
"""

from __future__ import annotations

import os
import threading
import time

import resilient_wsgi
from resilient_wsgi import installation
from resilient_wsgi.core.bounded_lock import Turns


def test_components_come_and_go_in_one_thread_at_a_time(monkeypatch):
    inside, together = [], []

    class Part:
        def install(self, options):
            together.append(len(inside))
            inside.append(1)
            time.sleep(0.002)
            inside.pop()
            return ()

        uninstall = staticmethod(lambda: None)

    monkeypatch.setattr(installation, "COMPONENTS", ("readiness",))
    monkeypatch.setattr(installation, "_component", lambda name: Part())
    installed = resilient_wsgi.install()
    threads = [
        threading.Thread(target=call) for call in (installed.reinstall, resilient_wsgi.install) * 8
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        installed.uninstall()
    assert set(together) == {0}


def test_whoever_has_waited_too_long_goes_on():
    turns, over = Turns(longest_wait=0.05), threading.Event()

    def keep():
        with turns:
            taken.set()
            over.wait(20)

    taken = threading.Event()
    keeper = threading.Thread(target=keep)
    keeper.start()
    taken.wait(20)
    with turns, turns:
        over.set()
    keeper.join(20)
    assert not keeper.is_alive()


def test_the_child_of_a_fork_does_not_wait_for_a_thread_that_it_does_not_have():
    turns, over, taken = Turns(longest_wait=600), threading.Event(), threading.Event()

    def keep():
        with turns:
            taken.set()
            over.wait(20)

    keeper = threading.Thread(target=keep)
    keeper.start()
    taken.wait(20)
    child = os.fork()
    if not child:
        with turns:
            os._exit(7)
    over.set()
    keeper.join(20)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
