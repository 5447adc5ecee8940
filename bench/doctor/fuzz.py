"""100 000 mutated configuration files: the doctor neither fails nor takes long on any (10 minutes).

`python -m bench.doctor.fuzz [NUMBER [FIRST SEED]]`. The files are the examples of the rules and, if it is here,
the corpus; each is cut, joined, shuffled, repeated, or strewn with bytes and words of the others.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
import traceback
from typing import Dict, List, Tuple

from bench.doctor import corpus
from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.render import Report, github, sarif, text
from resilient_wsgi.doctor.rules import load

NUMBER = 100_000
TOLD = ("machine", "live", "django")  # facts of examples, no files
SLOW_SECONDS = 0.05
NAMES = (
    "uwsgi.ini",
    "uwsgi.xml",
    "uwsgi.yml",
    "uwsgi.json",
    "nginx.conf",
    "Dockerfile",
    "docker-compose.yml",
    "app.service",
    "deployment.yaml",
    "Procfile",
    "gunicorn.conf.py",
)
WORDS = (
    *("%(", "$(", "@(", "%", "%(_)", "[uwsgi]", "[", "]", "{", "}", ";", "#", "'", '"', "=", "\\"),
    *("\r", "\n", "\t", "\0", "\ufeff", "\udcff", "\u202e", "for-times = 999999999", "endfor ="),
    *("if-env = X", "if-opt = a", "ini = :uwsgi", "ini = uwsgi.ini", "include", "a = %(a)%(a)"),
    *("set = x=y", "inherit = uwsgi.ini", "-", "- ", ": ", "|", "&a", "*a", "<<: *a", "!!x", "---"),
    *("<uwsgi>", "</uwsgi>", "<![CDATA[", "99999999999999999999", "-1", "1e400", "0x10", "\x1b[0m"),
    *("server {", "http {", "include x;", "uwsgi_pass", "RUN", "ENV a=", "CMD [", "ExecStart="),
    *("; doctor: ignore U01", "# doctor: ignore U01, U02 -- x", "a" * 5000, "(" * 300, "[" * 300),
)


def seeds() -> List[Tuple[str, str]]:
    """Return names and texts to start from."""
    found = [
        (name, text)
        for rule in load().values()
        for files in (rule.bad, rule.good)
        for name, text in files.items()
        if name not in TOLD
    ]
    if os.path.isdir(corpus.FOLDER):
        for file in corpus.files():
            with open(file.place, encoding="utf-8", errors="surrogateescape") as opened:
                found.append((os.path.basename(file.path), opened.read()))
    return found


def mutated(rng: random.Random, pool: List[Tuple[str, str]]) -> Dict[str, str]:
    """Return one to three files."""
    files: Dict[str, str] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name, content = rng.choice(pool)
        if rng.random() < 0.1:
            name = rng.choice(NAMES)
        for _ in range(rng.randrange(1, 8)):
            content = _changed(rng, content, pool)
        files[name] = content[: 1 << 20]
    return files


def _changed(rng: random.Random, content: str, pool: List[Tuple[str, str]]) -> str:
    lines = content.split("\n")
    where = rng.randrange(len(content) + 1)
    line = rng.randrange(len(lines))
    kind = rng.randrange(9)
    if kind == 0:
        return content[:where] + rng.choice(WORDS) + content[where:]
    if kind == 1:
        return content[:where] + chr(rng.randrange(256)) + content[where + 1 :]
    if kind == 2:
        return content[:where] + content[where + rng.randrange(40) :]
    if kind == 3:
        del lines[line]
    elif kind == 4:
        lines[line:line] = [lines[line]] * rng.choice((1, 2, 100))
    elif kind == 5:
        lines.insert(line, rng.choice(WORDS))
    elif kind == 6:
        rng.shuffle(lines)
    elif kind == 7:
        other = rng.choice(pool)[1].split("\n")
        lines[line:line] = other[: rng.randrange(len(other) + 1)]
    else:
        lines[line] = lines[line].partition("=")[0] + "= " + rng.choice(WORDS)
    return "\n".join(lines)


def once(files: Dict[str, str]) -> float:
    """Look at files, render the report in every format, and return the processor's seconds of the
    look.
    """
    start = time.process_time()
    subject = from_texts(files)
    findings = examine(subject)
    took = time.process_time() - start
    failed = [each for each in subject.not_looked if each.what.startswith("rule ")]
    assert not failed, failed
    report = Report(findings, subject)
    text.lines(report)
    github.lines(report)
    sarif.document(report, "0")
    return took


def main(arguments: List[str]) -> int:
    number = int(arguments[0]) if arguments else NUMBER
    first = int(arguments[1]) if arguments[1:] else 0
    pool, crashes = seeds(), 0
    seconds: List[float] = []
    slowest: Tuple[float, int] = (0.0, 0)
    for seed in range(first, first + number):
        files = mutated(random.Random(seed), pool)
        try:
            took = once(files)
        except Exception:
            crashes += 1
            print(f"seed {seed}: {traceback.format_exc()}", file=sys.stderr)
            continue
        if seed % 5000 == 4999:
            print(f"seed {seed}", file=sys.stderr)
        slowest = max(slowest, (took, seed))
        seconds.append(took / len(files))
    seconds.sort()
    p99 = seconds[int(len(seconds) * 0.99)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{number} subjects, {crashes} crashes; a file takes a processor {1000 * seconds[len(seconds) // 2]:.1f} ms "
        f"(median), {1000 * p99:.1f} ms (p99); the slowest subject {1000 * slowest[0]:.0f} ms (seed "
        f"{slowest[1]}); memory at most {memory} MB"
    )
    return 1 if crashes or p99 > SLOW_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
