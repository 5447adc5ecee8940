"""Run the test suites of other projects without and with the library installed, and list the
differences.

    python -m bench.peers.suites [requests urllib3 django ...]

The sources come from the package index; each suite has a venv of its own, in a temporary folder
unless PEERS_FOLDER names one to keep. `django` runs all of Django's tests on SQLite (half an hour
on one core), `django-web` those of what a server meets. With PEERS_DEADLINE=3600 the tests run
under a deadline of so many seconds, which nothing should notice either.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import xml.etree.ElementTree as ET
from typing import Dict, List, NamedTuple, Tuple

from bench import ROOT

HOURS = 3600.0


class Peer(NamedTuple):
    """A project, what its tests need, and how they are run."""

    project: str
    version: str
    needs: Tuple[str, ...]
    tests: Tuple[str, ...]
    options: Tuple[str, ...] = ()
    extras: str = ""


PYTEST = ("pytest>=8,<9",)
# what Django's handlers, test client, servers, files, logging and commands are tested by
DJANGO_WEB = (
    "handlers", "wsgi", "servers", "test_client", "test_client_regress", "requests_tests",
    "responses", "httpwrappers",
    "middleware", "middleware_exceptions", "signals", "logging_tests", "mail", "staticfiles_tests",
    "file_uploads", "view_tests",
    "csrf_tests", "sessions_tests", "admin_scripts", "user_commands", "basic", "asgi", "async",
    "utils_tests", "check_framework",
    "urlpatterns_reverse", "cache", "transactions", "fixtures", "builtin_server", "bash_completion",
    "test_runner", "shell",
)  # fmt: skip
DJANGO_NEEDS = (
    "asgiref",
    "sqlparse",
    "jinja2",
    "pyyaml",
    "tblib",
    "docutils",
    "Pillow",
    "pytz",
    "aiosmtpd",
)

PEERS: Dict[str, Peer] = {
    "requests": Peer(
        "requests", "2.34.2",
        (*PYTEST, "pytest-mock", "pytest-httpbin==2.1.0", "httpbin~=0.10.0", "trustme", "PySocks",
        "chardet"), ("tests",),
    ),
    "urllib3": Peer(
        "urllib3", "2.8.0",
        (*PYTEST, "pytest-timeout", "pytest-socket", "trustme", "hypercorn", "quart", "quart-trio",
        "trio", "h2", "httpx",
         "cryptography", "idna", "PySocks", "brotli", "tornado"),
        # left out: it supposes that each of three threads gets one of three calls, and hangs if one
        # gets two
        ("test",), ("-p", "no:randomly", "-k", "not test_http2_probe_blocked_per_thread"),
    ),
    "httpx": Peer(
        "httpx", "0.28.1",
        (*PYTEST, "trustme", "trio", "uvicorn", "chardet", "cryptography", "brotli", "h2",
        "socksio", "zstandard", "click",
         "rich", "pygments"),
        ("tests",), ("-W", "default"),
    ),
    "flask": Peer("flask", "3.1.3", (*PYTEST, "asgiref", "python-dotenv"), ("tests",)),
    "werkzeug": Peer(
        "werkzeug", "3.1.8", (*PYTEST, "pytest-timeout", "pytest-xprocess", "cryptography",
        "ephemeral-port-reserve", "watchdog"),
        # left out: a reloader of its own, which hangs here without the library, too
        ("tests",), ("-k", "not reloader", "--timeout=120"),
    ),
    "waitress": Peer("waitress", "3.0.2", (*PYTEST, "pytest-cov"), ("tests",)),
    "gunicorn": Peer(
        "gunicorn", "27.0.1",
        (*PYTEST, "pytest-asyncio", "gevent", "eventlet", "tornado", "h2", "uvloop", "httpx",
        "h11"),
        ("tests",), ("-o", "addopts=", "--ignore=tests/docker", "-W", "default"),
    ),
    "celery": Peer(
        "celery", "5.7.0",
        (*PYTEST, "pytest-celery[all]", "pytest-subtests", "pytest-timeout", "pytest-click",
        "pytest-order", "boto3", "moto",
         "cryptography", "pyyaml", "pydantic", "google-cloud-pubsub", "freezegun"),
        ("t/unit/worker", "t/unit/concurrency", "t/unit/app"),
        ("-p", "no:cacheprovider", "-W", "default"),
    ),
    "amqp": Peer("amqp", "5.4.2", (*PYTEST, "pytest-rerunfailures"), ("t/unit",)),
    "kombu": Peer(
        "kombu", "5.7.0",
        (*PYTEST, "hypothesis", "redis", "pyyaml", "msgpack", "freezegun", "pytest-freezer",
        "boto3", "pymongo", "SQLAlchemy", "zstandard", "brotli", "pytz", "tzdata", "backports.zoneinfo; python_version<'3.9'"),
        # left out: for clouds whose clients are large
        ("t/unit",),
        ("-W", "default", "--ignore=t/unit/transport/test_azurestoragequeues.py",
         "--ignore=t/unit/transport/test_gcpubsub.py"),
    ),
    "pymemcache": Peer(
        "pymemcache", "4.0.0", (*PYTEST, "pytest-cov", "faker", "zstd"), ("pymemcache/test",),
        ("-o", "addopts=", "-m", "unit", "-W", "default"),
    ),
    "sentry-sdk": Peer(
        "sentry_sdk", "2.75.0",
        (*PYTEST, "django==5.2.19", "pytest-django", "pytest-localserver", "pytest-watch",
        "jsonschema", "executing", "asttokens",
         "responses", "pysocks", "socksio", "httpcore[http2]", "brotli", "werkzeug",
         "psycopg2-binary", "djangorestframework",
         "channels[daphne]", "pytest-asyncio", "Jinja2", "gevent", "pytest-forked", "pytest-cov",
         "setuptools", "requests"),
        ("tests/integrations/django", "tests/integrations/wsgi", "tests/integrations/stdlib",
        "tests/integrations/requests"),
        ("-W", "default", "-p", "no:randomly"),
    ),
    "django-web": Peer("django", "5.2.19", DJANGO_NEEDS, DJANGO_WEB),
    "django": Peer("django", "5.2.19", DJANGO_NEEDS, ()),
}  # fmt: skip


def main(names: List[str]) -> int:
    unknown = sorted(set(names) - set(PEERS))
    if unknown:
        print(f"unknown: {' '.join(unknown)}; there are {' '.join(PEERS)}")
        return 2
    kept = os.environ.get("PEERS_FOLDER")
    if kept:
        return compare(names, os.path.abspath(kept))
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        return compare(names, folder)


def compare(names: List[str], folder: str) -> int:
    """Run the suites in that folder; return 1 if a test fares worse with the library."""
    library = make_library(folder)
    worse = 0
    for name in names or [each for each in PEERS if each != "django-web"]:
        peer = PEERS[name]
        source, python = prepare(folder, peer)
        began = time.monotonic()
        off, on = (outcomes(source, python, peer, library, on) for on in ("off", "on"))
        differ = {
            test: (off.get(test, "-"), on.get(test, "-"))
            for test in {*off, *on}
            if off.get(test) != on.get(test)
        }
        print(
            f"{name} {peer.version}: {tally(off)} without; {tally(on)} with; {len(differ)} differ"
            f" ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        for test, (before, after) in sorted(differ.items()):
            print(f"  {test}: {before} -> {after}", flush=True)
            worse += after not in ("passed", "skipped", "-")
    return 1 if worse else 0


def make_library(folder: str) -> str:
    """Return a folder for PYTHONPATH with the library and nothing else of this repository: it has
    tests, too.
    """
    library = f"{folder}/library"
    shutil.rmtree(library, ignore_errors=True)
    os.makedirs(library)
    shutil.copytree(
        f"{ROOT}/resilient_wsgi",
        f"{library}/resilient_wsgi",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(f"{ROOT}/bench/peers/site/sitecustomize.py", library)
    return library


def prepare(folder: str, peer: Peer) -> Tuple[str, str]:
    """Return the folder of the sources and the Python that has what the tests need."""
    source, home = f"{folder}/{peer.project}-{peer.version}", f"{folder}/venv-{peer.project}"
    if not os.path.exists(source):
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", peer.project, "-d", folder,
            f"{peer.project}=={peer.version}")  # fmt: skip
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(folder)
    if not os.path.exists(f"{home}/.complete"):
        venv.create(home, with_pip=True)
        run(
            f"{home}/bin/python",
            "-m",
            "pip",
            "install",
            "-q",
            f"{peer.project}=={peer.version}",
            *peer.needs,
        )
        with open(f"{home}/.complete", "w"):
            pass
    return source, f"{home}/bin/python"


def outcomes(source: str, python: str, peer: Peer, library: str, on: str) -> Dict[str, str]:
    """Run the suite and return what became of each test."""
    report = f"{source}-{on}.xml"
    # nothing is reached but this machine: what needs the network fails without and with
    environ = {**os.environ, "PYTHONPATH": library, "PEERS_LIBRARY": on, "NO_PROXY": "*"}
    environ.pop("COVERAGE_PROCESS_START", None)
    if peer.project == "django":
        command = [
            python,
            "runtests.py",
            "--settings=test_sqlite",
            "--parallel=1",
            "--noinput",
            *existing(source, peer.tests),
        ]
        source = f"{source}/tests"
    else:
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            f"--junitxml={report}",
            *peer.options,
            *peer.tests,
        ]
    # some leave files there, which their next run stumbles over
    with tempfile.TemporaryDirectory() as environ["TMPDIR"], open(f"{report}.log", "w") as log:
        subprocess.run(
            command, cwd=source, env=environ, stdout=log, stderr=log, timeout=3 * HOURS, check=False
        )
    if peer.project == "django":
        with open(f"{report}.log") as log:
            return of_django(log.read())
    return {
        f"{case.get('classname')}::{case.get('name')}": outcome(case)
        for case in ET.parse(report).iter("testcase")
    }


def existing(source: str, labels: Tuple[str, ...]) -> List[str]:
    return [label for label in labels if os.path.isdir(f"{source}/tests/{label}")]


def outcome(case: ET.Element) -> str:
    kinds = {child.tag for child in case}
    return next((kind for kind in ("failure", "error", "skipped") if kind in kinds), "passed")


def of_django(text: str) -> Dict[str, str]:
    """Return the tests that failed, and how many there were: it names no others."""
    failed = {
        test: kind.lower() for kind, test in re.findall(r"^(FAIL|ERROR): (.+)$", text, re.MULTILINE)
    }
    counted = {
        f"number of tests {word}": number
        for word, number in re.findall(r"(skipped|expected failures)=(\d+)", text)
    }
    ran = re.search(r"^Ran (\d+) tests", text, re.MULTILINE)
    return {**failed, **counted, "number of tests run": ran[1] if ran else "none: see the log"}


def tally(results: Dict[str, str]) -> str:
    values = list(results.values())
    counts = [
        f"{values.count(kind)} {kind}"
        for kind in sorted({kind for kind in values if kind.isalpha()})
    ]
    return ", ".join(
        [
            *counts,
            *(
                f"{number} {what}"
                for what, number in results.items()
                if what.startswith("number of")
            ),
        ]
    )


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
