"""Run CPython's own tests of threads without and with adoption, and compare.

python tools/cpython_tests.py ~/.pyenv/versions/3.9.18/bin/python
~/.pyenv/versions/3.13.0/bin/python

For each interpreter that has its tests (Lib/test), in a venv of its own. Adoption is installed by a
.pth file, so that it is on in the interpreters that the tests start themselves, too. The bounded
exit is not: the tests rely on a wait without a limit. The exit code is 0 if every interpreter has
the same failures with as without.
"""

from __future__ import annotations

import concurrent.futures
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = ("test_threading", "test_thread", "test_concurrent_futures", "test_threading_local")
# asserts that nothing has imported threading yet, which whoever installs anything has
IGNORED = "test_import_from_another_thread"
TIMEOUT = 900
ROOT = Path(__file__).resolve().parents[1]
SWITCH = """from resilient_wsgi.threads import adoption
adoption.install()
"""


def prepare(python: str, folder: Path, *, adopt: bool) -> Path:
    """Make a venv with what the library needs; with `adopt`, one in which it is always on."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    run = folder / "bin" / "python"
    subprocess.run([run, "-m", "pip", "install", "-q", "wrapt"], check=True)
    site = subprocess.run(
        [run, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "resilient_wsgi.pth").write_text(f"{ROOT}\n")
    if adopt:
        (Path(site) / "resilient_wsgi_switch.py").write_text(SWITCH)
        (Path(site) / "zz_resilient_wsgi_switch.pth").write_text("import resilient_wsgi_switch\n")
    return run


def failures(python: Path, test: str) -> list[str]:
    """Return the tests that failed, by name, and a word for a run that came to no end."""
    there = (
        subprocess.run(
            [python, "-c", f"import test.{test}"], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not there:
        return ["not installed"]  # some builds of CPython leave out tests that are packages
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [python, "-m", "test", "-v", "--timeout=600", "-i", IGNORED, test],
                cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"no end within {TIMEOUT} s"]
    failed = sorted(set(re.findall(r"^(?:FAIL|ERROR): (\S+ \(\S+\))", done.stdout, re.MULTILINE)))
    ran = sum(int(n) for n in re.findall(r"^Ran (\d+) tests? in", done.stdout, re.MULTILINE))
    return [*failed, f"ran {ran}", f"exit code {done.returncode}"]


def compare(python: str) -> bool:
    """Run all tests with one interpreter; say what differs."""
    same = True
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        unchanged, adopted = (
            prepare(python, Path(folder) / name, adopt=name == "adopted")
            for name in ("unchanged", "adopted")
        )
        for test in TESTS:
            without, with_ = pool.map(
                lambda run, test=test: failures(run, test), (unchanged, adopted)
            )
            word = "as without" if with_ == without else f"NOT as without: {without} became {with_}"
            print(f"{python}: {test}: {', '.join(with_)}: {word}", flush=True)
            same = same and with_ == without
    return same


if __name__ == "__main__":
    # started in the background, a shell has it ignored, children inherit that, and tests wait for
    # it for ever
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = [compare(python) for python in sys.argv[1:] or [sys.executable]]
    sys.exit(0 if all(results) else 1)
