"""Near cases of the rules about gunicorn."""

IMAGE = 'FROM python:3.12\nCMD ["gunicorn", "-c", "gunicorn.conf.py", "mysite.wsgi"]\n'
UNIT = "[Unit]\nDescription=x\n\n[Service]\nExecStart=/venv/bin/gunicorn mysite.wsgi\n"


def conf(*lines, **more):
    return {"gunicorn.conf.py": "\n".join([*lines, ""]), **more}


def image(*lines, text=IMAGE):
    return {**conf(*lines), "Dockerfile": text}


def web(line):
    return {"Procfile": f"web: gunicorn {line} mysite.wsgi\n"}


def unit(*lines, settings=()):
    return {"app.service": UNIT + "".join(f"{line}\n" for line in lines), **conf(*settings)}


def compose(command, more="image: app"):
    return {
        "compose.yaml": f"services:\n  web:\n    build: .\n    command: {command}\n    {more}\n"
    }


def pinned(version, image_text):
    return {"requirements.txt": f"gunicorn=={version}\n", "Dockerfile": image_text}


CASES = [
    ("G13", {"requirements.txt": "gunicorn==25.1\n", **web("")}, True),
    ("G13", {"requirements.txt": "gunicorn==25.0\n", **web("")}, False),
    ("G13", {"requirements.txt": "gunicorn==26.1\n", **web("")}, False),
    ("G13", {"requirements.txt": "gunicorn==26.0\n", **web("--no-control-socket")}, False),
    ("G01", web(""), False),  # sync workers keep no connections
    ("G01", web("-k gevent"), True),
    ("G01", web("-k gevent --keep-alive 5"), True),
    ("G01", web("-k gevent --keep-alive=91"), False),
    ("G01", web("-k gevent --keep-alive $KEEP"), False),
    ("G01", conf("workers = 4", "threads = 4"), False),
    ("G01", image("threads = 4"), False),
    ("G02", conf("timeout = 0", "timeout = 30"), False),
    ("G02", web("-t0"), True),
    ("G02", web("--timeout 30"), False),
    ("G02", conf("if DEBUG:", "    timeout = 0"), False),
    ("G02", conf("timeout = int(os.environ['T'])"), False),
    ("G02", conf("SECONDS = 0", "timeout = SECONDS * 2"), True),
    ("G02", {**conf("timeout = 0"), **web("-c gunicorn.conf.py -t 30")}, False),
    ("G02", {**conf("timeout = 0"), **web("-c gunicorn.conf.py")}, True),
    ("G03", conf("workers = 4", "threads = 1"), False),
    ("G03", conf("worker_class = 'gevent'", "threads = 4"), False),
    ("G03", conf("bind = ':80'", "worker_class = 'gthread'"), True),
    ("G03", conf("bind = ':80'", "worker_class = choose()", "threads = 4"), False),
    ("G03", conf("bind = ':80'", "threads: int = 4"), True),
    ("G03", {"Procfile": "web: GUNICORN_CMD_ARGS='--threads 4' gunicorn app\n"}, True),
    (
        "G03",
        {**conf("bind = ':80'", "threads = 4"), "wsgi.py": "import resilient_wsgi\n"},
        False,
    ),
    ("G04", conf("workers = 4"), False),
    ("G05", conf("workers = 1", "max_requests = 1000"), False),
    ("G05", conf("workers = n()", "max_requests = 1000"), True),
    ("G05", conf("workers = 4", "max_requests = 0"), False),
    ("G05", conf("workers = 4", "max_requests = 9", "max_requests_jitter = j()"), False),
    ("G05", {"Procfile": "web: WEB_CONCURRENCY=1 gunicorn --max-requests 9 app\n"}, False),
    ("G05", {"Procfile": "web: WEB_CONCURRENCY=3 gunicorn --max-requests 9 app\n"}, True),
    ("G06", unit("TimeoutStopSec=30", "KillMode=mixed"), True),
    ("G06", unit("TimeoutStopSec=31", "KillMode=mixed"), False),
    ("G06", unit(settings=["graceful_timeout = 95"]), True),
    ("G06", unit(settings=["graceful_timeout = 20"]), False),
    ("G06", unit("TimeoutStopSec=10", settings=["graceful_timeout = g()"]), False),
    ("G06", image("workers = 4"), False),  # docker's 10 s, which may be changed when it is run
    ("G06", compose("gunicorn app"), False),  # neither number is set by anybody
    ("G06", compose("gunicorn --graceful-timeout 10 app"), True),
    ("G06", compose("gunicorn app", "stop_grace_period: 20s"), True),
    ("G06", conf("graceful_timeout = 300", "workers = 2"), False),
    ("G07", conf("workers = multiprocessing.cpu_count()"), False),
    ("G07", image("bind = ':80'", "threads = os.cpu_count()"), True),
    ("G11", conf("workers = 4", machine="net.core.somaxconn = 128"), False),
    ("G11", conf("backlog = 128", "bind = ''", machine="net.core.somaxconn = 128"), False),
    ("G11", conf("backlog = 2048", "bind = ''"), False),
    ("G12", pinned("26.0.0", IMAGE.replace('["gunicorn"', '["tini", "--", "gunicorn"')), False),
    ("G12", pinned("26.1", IMAGE), False),
    ("G12", {"requirements.txt": "gunicorn\n", "Dockerfile": IMAGE}, False),
    ("G12", {"requirements.txt": "gunicorn==20\n", "Procfile": "web: gunicorn app\n"}, False),
    ("G12", pinned("20.1", 'FROM python:3.12\nCMD ["uwsgi"]\n'), False),
    ("G14", web("--reload"), True),
    ("G14", conf("reload = reloads()", "bind = ''"), False),
    ("G15", conf("daemon = True", "bind = ''"), False),
    ("G15", image("daemon = False"), False),
    ("G16", conf("workers = 4", "worker = 4"), False),
    ("G16", conf("bind = ''", "_worker = 4"), False),
    ("G16", conf("bind = ''", "some_name = 4"), False),
    ("G16", conf("bind = ''", "Workers = 4"), True),
    ("G16", conf("bind = ''", "preload = True", "reload = True"), True),
    ("G16", conf("bind = ''", "preload = True", "preload_app = True"), False),
    ("G17", conf("bind = ''", "worker_connections = 5"), True),
    ("G17", conf("worker_class = 'gthread'", "worker_connections = 5"), False),
    ("G17", conf("worker_class = w()", "worker_connections = 5"), False),
]
