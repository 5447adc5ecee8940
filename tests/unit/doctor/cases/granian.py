"""Near cases of the rules about granian, and about sources."""

from tests.unit.doctor.completing import ini

QUIET = "--respawn-failed-workers --workers-kill-timeout 30"
NO_MIGRATION = "net.ipv4.tcp_migrate_req = 0"
TIMER = "from uwsgidecorators import timer\n\n\n@timer(60)\ndef f(s):\n    pass\n"
METRIC = "import uwsgi\n\nuwsgi.metric_inc('x')\n"
WHOLE = ("module = app", "socket = 127.0.0.1:3031")


def web(words, **more):
    return {"Procfile": f"web: granian {words} app:app\n", **more}


CASES = [
    ("R01", web(f"--interface asgi {QUIET}"), False),
    ("R01", web(f"--interface=wsgi {QUIET}"), True),
    ("R01", {"Procfile": "web: gunicorn --interface wsgi app:app\n"}, False),
    ("R02", web("--interface wsgi --no-respawn-failed-workers"), True),
    ("R02", {"Procfile": "web: GRANIAN_INTERFACE=wsgi granian app:app\n"}, True),
    (
        "R02",
        {
            "Procfile": "web: GRANIAN_INTERFACE=wsgi GRANIAN_RESPAWN_FAILED_WORKERS=true "
            "granian app:app\n"
        },
        False,
    ),
    (
        "R02",
        {
            "Procfile": "web: GRANIAN_RESPAWN_FAILED_WORKERS=true granian --interface wsgi "
            "--no-respawn-failed-workers app:app\n"
        },
        True,
    ),
    ("R03", web("--interface wsgi --workers-kill-timeout=5"), False),
    ("R04", web("--interface wsgi --workers-max-rss 500", machine=NO_MIGRATION), True),
    ("R04", web("--interface wsgi", machine=NO_MIGRATION), False),
    ("R04", web("--interface wsgi --workers-max-rss 500"), False),
    ("U11", {**ini("die-on-term = false"), "a.py": "import uwsgi\nuwsgi.stop()\n"}, False),
    ("U11", {**ini("die-on-term = true"), "a.py": "import uwsgi\n# uwsgi.stop()\n"}, False),
    ("U11", {**ini("die-on-term = true"), "a.py": "import uwsgi\n'uwsgi.stop()'\n"}, False),
    ("U11", {**ini("die-on-term = true"), "a.py": "import uwsgi as u\nu.stop()\n"}, True),
    ("U11", {**ini("die-on-term = true"), "a.py": "from uwsgi import stop\nstop()\n"}, True),
    ("U11", {**ini("die-on-term = true"), "a.py": "uwsgi = X()\nuwsgi.stop()\n"}, False),
    ("U11", {**ini("die-on-term = true"), "a.py": "import uwsgi\nuwsgi.stop(\n"}, False),
    ("U56", {**ini("lazy-apps = true"), "a.py": TIMER.replace("@", "# @")}, False),
    ("U56", {**ini("lazy-apps = true"), "a.py": "import uwsgi\nuwsgi.add_timer(1, 2)\n"}, True),
    ("U56", {**ini("lazy-apps = true"), "a.py": "uwsgi = 1\n" + "@timer(" * 500}, False),
    ("U76", {**ini("harakiri = 30", "enable-metrics = true"), "a.py": METRIC}, True),
    ("U76", {**ini("harakiri = 0", "enable-metrics = true"), "a.py": METRIC}, False),
    ("U76", {**ini("harakiri = 30"), "a.py": METRIC}, False),
    ("U54", ini(*WHOLE, "venv = /v"), False),
    ("U54", {**ini(*WHOLE, "venv = /v"), "requirements.txt": "pyuwsgi\nuwsgi\n"}, False),
    ("U54", {**ini(*WHOLE), "requirements.txt": "pyuwsgi>=2\n"}, True),  # a hint
    ("U54", {**ini(*WHOLE), "requirements.txt": "# pyuwsgi\n-r pyuwsgi\n"}, False),
    ("U37", {**ini(*WHOLE, "master = true"), "requirements.txt": "uWSGI==2.0.26\n"}, True),
    (
        "U37",
        {**ini(*WHOLE), "requirements.txt": "uWSGI==2.0.26", "machine": "uwsgi = 2.0.31"},
        True,
    ),
    ("U37", {**ini(*WHOLE), "requirements.txt": "pyuwsgi==2.0.26.post1\n"}, True),
    (
        "U37",
        {
            **ini(*WHOLE),
            "requirements.txt": "uwsgi==2.0.26\n",
            "requirements-a.txt": "uwsgi==2.0.31",
        },
        False,
    ),
    ("U30", {**ini("py-call-osafterfork = 1"), "Dockerfile": "FROM python:3.13-slim\n"}, True),
    ("U30", {**ini("py-call-osafterfork = 1"), "Dockerfile": "FROM x/python:3.13.1\n"}, True),
    ("U30", {**ini("py-call-osafterfork = 1"), "Dockerfile": "FROM mypython:3.13\n"}, False),
    ("U30", {**ini("py-call-osafterfork = 1"), "Dockerfile": "FROM python:3.12\n"}, False),
]
