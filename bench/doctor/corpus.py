"""Public configuration files: what the doctor finds in them, and how long it takes (minutes; gets
the files from GitHub once, into .corpus, or takes those in the folder named by CORPUS).
"""

from __future__ import annotations

import collections
import os
import statistics
import sys
import time
import urllib.parse
import urllib.request
from typing import Dict, Iterator, List, NamedTuple

from resilient_wsgi.doctor.collect import from_paths
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import RULES, Finding, Severity, in_order
from resilient_wsgi.doctor.subject import Subject

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "corpus.txt")
FOLDER = os.environ.get("CORPUS") or os.path.join(os.path.dirname(os.path.dirname(HERE)), ".corpus")


class File(NamedTuple):
    """A file of the corpus, and where it lies on this machine."""

    repository: str
    commit: str
    path: str

    @property
    def place(self) -> str:
        return os.path.join(FOLDER, self.repository.replace("/", "+", 1), self.path)


def files() -> List[File]:
    """Return the files of the list that are here, or can be had."""
    with open(LIST, encoding="utf-8") as lines:
        listed = [line.split() for line in lines if line[:1] not in "#\n"]
    found = [File(name, commit, urllib.parse.unquote(path)) for name, commit, path in listed]
    return [each for each in found if os.path.exists(each.place) or _got(each)]


def _got(file: File) -> bool:
    path = urllib.parse.quote(file.path)
    address = f"https://raw.githubusercontent.com/{file.repository}/{file.commit}/{path}"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            data = answer.read(10 << 20)
    except OSError as error:
        print(f"{address}: {error}", file=sys.stderr)
        return False
    os.makedirs(os.path.dirname(file.place), exist_ok=True)
    with open(file.place, "wb") as out:
        out.write(data)
    return True


def examined() -> Iterator[tuple[str, List[Finding], float]]:
    """Yield what is found in each file, alone and without facts of this machine."""
    for file in files():
        start = time.process_time()
        subject = Subject()
        from_paths([file.place], subject)
        yield file.place, examine(subject), time.process_time() - start


def main() -> int:
    seconds: List[float] = []
    hit: Dict[str, Dict[Severity, set[str]]] = {}
    examine(Subject())  # the rules are imported
    for place, findings, took in examined():
        seconds.append(took)
        for each in findings:
            by_severity = hit.setdefault(each.code, collections.defaultdict(set))
            by_severity[each.severity].add(place)
            if each.severity is Severity.ERROR and "--errors" in sys.argv:
                print(
                    f"{os.path.relpath(place, FOLDER)}:{each.location.line} {each.code}: {each.message}"
                )
    print(f"| in {len(seconds)} files | error | warning | hint |\n| --- | --- | --- | --- |")
    rules = [each for each in in_order(RULES) if each.code in hit]
    for rule in sorted(rules, key=lambda each: -len(set().union(*hit[each.code].values()))):
        counts = [len(hit[rule.code].get(each, ())) or "" for each in Severity]
        print(f"| {rule.code} {rule.title} |", *(f"{each} |" for each in counts))
    seconds.sort()
    milliseconds = [
        1000 * each
        for each in (statistics.median(seconds), seconds[int(len(seconds) * 0.99)], seconds[-1])
    ]
    print(
        "a file takes a processor {:.1f} ms (median), {:.1f} ms (p99), {:.1f} ms (at most)".format(
            *milliseconds
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
