from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import resilient_wsgi
from resilient_wsgi.core.log import named

CODE = """
from resilient_wsgi.core.log import named
named("threads").error("the exit takes %.1f s", 2.5)
named().warning("%d %%", 5)
try: 1 / 0
except ZeroDivisionError: named("imports").exception("error")
"""


def test_without_a_handler_each_line_begins_with_time_level_and_the_name_of_its_logger():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stderr.splitlines()
    assert [re.sub(r"^[\d-]{10} [\d:]{8} ", "TIME ", line) for line in lines[:3]] == [
        "TIME ERROR resilient_wsgi.threads: the exit takes 2.5 s",
        "TIME WARNING resilient_wsgi: 5 %",
        "TIME ERROR resilient_wsgi.imports: error",
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_handler_has_the_message_alone_and_the_place_that_logged_it(caplog):
    named("threads").warning("the exit takes %.1f s", 2.5)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("resilient_wsgi.threads", "the exit takes 2.5 s")
    assert (record.levelno, record.filename) == (logging.WARNING, "test_log.py")


def test_no_module_logs_past_it():
    package = Path(resilient_wsgi.__file__).parent
    direct = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "= logging.getLogger" in path.read_text()
    }
    assert direct == set()
