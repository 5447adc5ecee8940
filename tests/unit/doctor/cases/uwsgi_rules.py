"""What each rule about a uwsgi.ini must not take for a mistake, and what it must not miss."""

from resilient_wsgi.doctor.rules.examples import PREFORK, also, without
from tests.unit.doctor.completing import ini

LIBRARY = ("shared-import = resilient_wsgi.uwsgi", "hook-accepting = rpc:resilient_wsgi_ready")
APP = "module = resilient_wsgi.uwsgi:application"
IMAGE = 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n'
UNIX = "socket = /run/app.sock"
TCP = "socket = 127.0.0.1:3031"


def whole(*lines, less=(), machine="", **more):
    """Return the files of a whole configuration, with lines in place of those of these names."""
    files = {"uwsgi.ini": also(*lines, text=without(*less)), **more}
    return {**files, "machine": machine} if machine else files


def docker(files, image=IMAGE):
    return {**files, "Dockerfile": image}


NUMBERS = [
    ("U02", ini("harakiri = 30"), False),
    ("U02", ini("harakiri = "), False),
    ("U02", ini("harakiri = 30s"), True),  # a hint: it is 30
    ("U02", ini("harakiri = 30 ; seconds"), True),
    ("U02", ini("harakiri = ; off"), True),
    ("U02", ini("harakiri = 30 \\", "x"), True),
    ("U02", ini("harakiri = sixty"), True),
    ("U02", ini("harakiri = -1"), True),
    ("U02", ini("reload-on-rss = 512M"), True),
    ("U02", ini("reload-on-rss = 1G"), True),
    ("U02", ini("reload-on-rss = 1s"), True),
    ("U02", ini("limit-post = 10M"), True),
    ("U02", ini("buffer-size = 32768k"), True),  # a warning: what it reads is enough
    ("U02", ini("max-requests = -5"), False),
    ("U02", ini("module = 5 things"), False),
    ("U02", ini("harakiri = $(HARAKIRI)"), False),
    ("U02", ini("log-slow = true"), False),
    ("U02", ini("no-such-option = 5 things"), False),
    ("U02", ini("harakiri = 0.5"), True),
    ("U02", ini("harakiri = 30 ; seconds", "listen = 5 ; connections"), True),  # the first
    ("U02", ini("http-keepalive = true"), True),  # a warning: it is off
    ("U02", ini("processes = four"), True),
    ("U02", ini("listen = %(backlog)", "backlog = 1024"), True),
    ("U02", ini("listen = many"), True),
    ("U02", ini("harakiri = 20  "), False),
    ("U02", ini("harakiri = %(a)", "a = x"), True),
    ("U02", ini("harakiri = %(unknown)"), True),
    ("U02", ini("harakiri = 2m", "listen = 10 ; x", "processes = 2m"), True),
    ("U03", ini("log-slow ="), False),
    ("U03", ini("log-slow = 0"), False),
    ("U03", ini("log-big = yes"), True),
    ("U03", ini("log-slow = 1000ms"), False),
    ("U88", ini("chmod-socket"), False),
    ("U88", ini("chmod-socket = 1"), False),
    ("U88", ini("chmod-socket = true"), True),
    ("U88", ini("chmod-socket = $(MODE)"), False),
    ("U88", ini("logfile-chmod = 1"), True),
    ("U88", ini("logfile-chmod = 640"), False),
    ("U88", ini("if-env = X", "chmod-socket = 0660", "endif ="), False),
    ("U89", ini("socket = /" + "a" * 101), False),
    ("U89", ini("socket = /" + "a" * 102), True),
    ("U89", ini("socket = " + "a" * 102 + ":80"), False),
    ("U89", ini("socket = /$(" + "A" * 102 + ")"), False),
    ("U91", ini("buffer-size = 65535"), False),
    ("U91", ini("buffer-size = 65536"), True),
    ("U92", ini("buffer-size = 4096"), False),
    ("U92", ini("buffer-size = 2048"), True),
    ("U92", ini("buffer-size = 32k"), True),
]
WORKERS = [
    ("U06", ini("max-requests-delta = 5", machine="uwsgi = 2.0.28"), True),  # ignored: a warning
    ("U06", ini("max-requests-delta = 5"), False),
    ("U07", ini("processes = 4"), False),  # no app, no socket: the other half may have it
    ("U07", whole("stats = 127.0.0.1:9191", less=["master"]), False),
    ("U07", whole("processes = 4", less=["master", "harakiri"]), True),
    ("U07", whole("processes = 1", less=["master"]), True),
    ("U07", whole("processes = 1", less=["master", "harakiri"]), True),
    ("U07", whole("psgi = app.pl", less=["master"]), False),
    ("U07", whole("include = missing.ini", less=["master"]), False),
    ("U14", ini("max-worker-lifetime = 0"), False),
    ("U14", ini("max-worker-lifetime = 60", *LIBRARY), False),
    ("U15", ini("processes = 8", "max-requests = 5", machine="uwsgi = 2.0.28"), False),
    ("U15", ini("processes = 8", "max-requests = 0"), False),
    ("U15", ini("processes = 1", "max-requests = 5"), False),
    ("U16", ini("processes = 8", "max-worker-lifetime = 0"), False),
    ("U16", ini("processes = 1", "max-worker-lifetime = 60"), False),
    ("U17", ini("max-worker-lifetime = 11"), False),
    ("U17", ini("max-worker-lifetime = 60", "min-worker-lifetime = 60"), True),
    ("U17", ini("max-worker-lifetime = 0"), False),
    ("U47", ini("workers = 4", "cheaper = 3"), False),
    ("U47", ini("workers = 4", "cheaper = 5"), True),
    ("U47", ini("cheaper = 1"), True),
    ("U47", ini("workers = $(N)", "cheaper = 5"), False),
    ("U57", ini("reload-on-rss = 800", "evil-reload-on-rss = 800"), True),
    ("U57", ini("evil-reload-on-rss = 0"), False),
    ("U65", whole("processes = 1", "threads = 2"), False),
    ("U65", whole("processes = 1", "gevent = 100"), False),
    ("U65", whole("processes = $(N)"), False),
    ("U68", ini("workers = %k"), True),
    ("U68", docker(ini("workers = %k"), "FROM x\nCMD uwsgi --ini other.ini\n"), True),
    ("U68", ini("processes = 4", "name = %k"), False),
    ("U70", ini("reload-on-rss = 0"), False),
    ("U70", ini("reload-on-rss = 16"), False),
    ("U70", ini("evil-reload-on-rss = 1G"), True),
    ("U85", ini("cheaper-rss-limit-soft = 0"), False),
    ("U85", ini("cheaper-rss-limit-hard = 100"), True),
    (
        "U85",
        ini("memory-report = 1", "cheaper-rss-limit-soft = 5", "cheaper-rss-limit-hard = 5"),
        True,
    ),
    (
        "U85",
        ini("memory-report = 1", "cheaper-rss-limit-soft = 5", "cheaper-rss-limit-hard = 6"),
        False,
    ),
    ("U86", ini("processes = 8", "cheaper = 2", "cheaper-initial = 9"), True),
    ("U86", ini("processes = 8", "cheaper = 2", "cheaper-initial = 2"), False),
    ("U86", ini("processes = 8", "cheaper-initial = 9"), False),
    ("U86", ini("processes = 8", "cheaper = 2", "cheaper-initial = 0"), False),
    ("U86", ini("processes = 0", "cheaper = 2", "cheaper-initial = 1"), False),
    ("U86", ini("processes = 8", "cheaper = 2", "name = 9"), False),
]
LOADING = [
    ("U08", whole("need-app = true"), False),
    ("U08", whole("need-app = false"), True),
    ("U08", whole(*LIBRARY, less=["need-app"]), False),
    ("U08", whole(LIBRARY[0], less=["need-app"]), True),
    ("U09", ini("need-app = true"), False),
    ("U09", ini("need-app = true", "lazy-apps = true", *LIBRARY), "hint"),
    ("U33", ini("lazy = false"), False),
    ("U34", ini("lazy-apps = false", machine="uwsgi = 2.0.28"), False),
    ("U34", ini("lazy-apps = true", "skip-atexit = true", machine="uwsgi = 2.0.28"), False),
    ("U35", ini("lazy-apps = true", "mules = 2", machine="uwsgi = 2.0.29"), False),
    ("U35", ini("lazy-apps = true", "mules = 2"), False),
    ("U41", whole(less=["single-interpreter"]), True),  # one app: a hint
    ("U41", whole("single-interpreter = $(X)"), False),
    ("U42", ini("lazy = true", "touch-chain-reload = x"), False),
    ("U42", ini("lazy-apps = $(X)", "touch-chain-reload = x"), False),
    ("U43", ini("workers = $(N)", "touch-chain-reload = x"), False),
    ("U55", ini("hook-accepting = unix_signal:1"), False),
    ("U55", ini("hook-accepting1-once = rpc:x"), True),
    ("U61", ini("wsgi-file = /srv/wsgi.py", "import = tasks"), False),
    ("U61", ini("wsgi-file = /srv/wsgi.py", "shared-import = mysite.wsgi"), True),
    ("U61", ini("wsgi-file = wsgi", "import = w"), False),
    ("U84", ini("shared-import = resilient_wsgi.uwsgi"), True),
    ("U84", ini("module = resilient_wsgi.uwsgi:application", LIBRARY[1]), False),
    ("U84", ini("shared-import = resilient_wsgi.uwsgi", "hook-accepting = rpc:mine"), True),
    ("U84", ini("hook-accepting = rpc:mine"), False),
    ("U84", ini(LIBRARY[0], "include = missing.ini"), False),
    ("U84", ini(LIBRARY[1], "include = missing.ini"), False),
]
FORKING = [
    ("U30", ini("py-call-osafterfork = true", machine="python = 3.12.1"), False),
    ("U30", ini("py-call-osafterfork = true"), False),
    ("U30", ini("py-call-osafterfork = false", machine="python = 3.13"), False),
    ("U31", ini("py-call-osafterfork = true"), True),
    ("U31", ini("py-call-osafterfork = true", machine="python = 3.13"), False),
    ("U31", ini("py-call-osafterfork = true", machine="python = 3.6"), False),
    ("U31", ini("py-call-osafterfork = false"), False),
    ("U32", whole(less=["py-call-uwsgi-fork-hooks"]), True),  # a hint: which uWSGI is not known
    ("U32", whole(less=["py-call-uwsgi-fork-hooks"], machine="uwsgi = 2.0.20"), False),
    ("U32", whole("lazy-apps = true", less=["py-call-uwsgi-fork-hooks"]), False),
    ("U32", whole("lazy = true", less=["py-call-uwsgi-fork-hooks"]), False),
    ("U32", whole("lazy = $(X)", less=["py-call-uwsgi-fork-hooks"]), False),
    ("U32", whole(less=["py-call-uwsgi-fork-hooks", "master"]), False),
    ("U32", whole("py-call-osafterfork = 1", less=["py-call-uwsgi-fork-hooks"]), False),
    ("U32", whole(*LIBRARY, less=["py-call-uwsgi-fork-hooks"], machine="uwsgi = 2.0.31"), True),
    ("U36", ini("skip-atexit = false"), False),
    ("U36", ini("skip-atexit = true", "threads = 2"), False),
    ("U37", whole(machine="uwsgi = 2.0.27"), False),
    ("U37", whole(), False),
    ("U37", whole("threads = 2", machine="uwsgi = 2.0.26"), False),
    ("U37", whole("enable-threads = false", machine="uwsgi = 2.0.26"), True),
    ("U37", whole("enable-threads = $(X)", machine="uwsgi = 2.0.26"), False),
    ("U38", ini("no-threads-wait = false"), False),
    ("U66", ini(machine="python = 3.13\nuwsgi = 2.0.28"), False),
    ("U66", ini(machine="uwsgi = 2.0.28"), False),
    ("U66", ini(machine="python = 3.14"), False),
]
HARAKIRI = [
    ("U18", whole("harakiri = 0"), True),
    ("U18", whole("harakiri = $(H)"), False),
    ("U18", ini(TCP), False),
    ("U19", ini("harakiri = 0", "threads = 2"), False),
    ("U19", ini("harakiri = 30", "threads = 1"), False),
    ("U19", ini("harakiri = 30", "threads = 2", *LIBRARY), True),  # a hint
    ("U19", ini("harakiri = 30", "threads = 2", APP, LIBRARY[1]), False),
    ("U20", ini("harakiri = 30", "threads = 2", "post-buffering = 0"), False),
    ("U20", ini("harakiri = 0", "threads = 2", "post-buffering = 1"), False),
    ("U20", ini("harakiri = 30", "threads = 2", "post-buffering = 1"), True),  # a warning
    (
        "U20",
        ini("harakiri = 9", "threads = 2", "post-buffering = 1", machine="uwsgi = 2.0.21"),
        False,
    ),
    ("U21", ini(UNIX, "harakiri = 30"), False),
    ("U21", ini("http-socket = :80", "harakiri = 0"), False),
    ("U21", ini("http-socket = :80", "harakiri = 30", "threads = 2"), False),
    ("U22", ini(UNIX, "harakiri-queue-threshold = 0"), False),
    ("U22", ini(TCP, "harakiri-queue-threshold = 3"), False),
    ("U22", ini(UNIX, TCP, "harakiri-queue-threshold = 3"), False),
    ("U22", ini("socket = $(S)", "harakiri-queue-threshold = 3"), False),
    ("U23", ini("harakiri-graceful-signal = 34", "harakiri-graceful-timeout = $(X)"), False),
    ("U24", ini("harakiri-graceful-signal = 1"), False),
    ("U24", ini("harakiri-graceful-signal = 15"), True),
    ("U25", ini("harakiri-graceful-timeout = 0", "route = ^/x harakiri:120"), False),
    ("U25", ini("harakiri-graceful-timeout = 9", "final-route = ^/x harakiri:120"), True),
    ("U25", ini("harakiri-graceful-timeout = 9", "route = ^/x log:y"), False),
    ("U25", ini("harakiri-graceful-timeout = 9", "name = harakiri:120"), False),
    ("U26", ini("harakiri = 60"), False),
    ("U26", ini("harakiri = 61"), True),
    ("U26", ini("harakiri = 61", "worker-reload-mercy = $(X)"), False),
    ("U27", ini("http = :80", "harakiri = 59"), False),
    ("U27", ini("http = :80", "harakiri = 60"), True),
    ("U27", ini("http-socket = :80", "harakiri = 60"), False),
    ("U28", ini("http = :80", "http-keepalive = 0", "harakiri = 30"), False),
    ("U28", ini("http-socket = :80", "http-keepalive = 9", "harakiri = 30"), False),
    ("U28", ini("http = :80", "http-keepalive = 9"), False),
    ("U29", ini("py-tracebacker = x", *LIBRARY), True),
    ("U29", ini("py-tracebacker = x", "harakiri-graceful-signal = 34"), False),
]
STOPPING = [
    ("U10", whole(less=["die-on-term"]), True),  # a warning: nothing says that it is a container
    ("U10", docker(whole(less=["die-on-term"]), IMAGE + "STOPSIGNAL SIGINT\n"), False),
    ("U10", docker(whole(less=["die-on-term"]), IMAGE + "STOPSIGNAL SIGTERM\n"), True),
    ("U10", whole("hook-master-start = unix_signal:15 x", less=["die-on-term"]), False),
    ("U10", ini(TCP), False),
    ("U12", ini("die-on-term = true", "hook-master-start = unix_signal:10 x"), False),
    ("U12", ini("hook-master-start = unix_signal:15 x"), False),
    (
        "U13",
        ini("hook-x = unix_signal:15 gracefully_kill_them_all", machine="uwsgi = 2.0.26"),
        True,
    ),
    ("U39", ini("reload-mercy = 10", "worker-reload-mercy = 10"), False),
    ("U39", ini("reload-mercy = 10", "attach-daemon = redis"), False),
    ("U64", ini("no-orphans = true"), True),
    ("U64", ini("no-orphans = false", "exit-on-reload = false"), False),
    ("U73", ini("daemonize = x"), False),
    ("U73", docker(ini("daemonize = x"), "FROM x\nCMD uwsgi --ini other.ini\n"), False),
]
SOCKETS = [
    ("U22", ini("socket = =0", "harakiri-queue-threshold = 3"), False),
    ("U44", whole("listen = 1024"), False),
    ("U44", whole("listen = 1023"), True),
    ("U44", whole("listen = 1023", machine="net.core.somaxconn = 4096"), True),
    ("U44", whole("if-env = X", "listen = 9", "endif ="), False),
    ("U46", ini(UNIX, "cheaper-algo = busyness"), False),
    ("U46", ini(UNIX, "cheaper-busyness-backlog-alert = 33"), True),  # a warning
    ("U46", ini(UNIX, "name = backlog"), False),
    ("U46", ini(TCP, "cheaper-algo = backlog"), False),
    ("U48", ini("stats = $(HOST):9191"), False),
    ("U48", ini("stats = /run/stats.sock"), False),
    ("U48", docker(ini("stats = :9191")), True),  # a hint
    ("U48", whole(), True),  # a hint
    ("U50", whole("socket = 127.0.0.1:3031", less=["vacuum"]), False),
    ("U50", whole("socket = @abstract", less=["vacuum"]), False),
    ("U59", ini("socket = :3031"), True),
    ("U59", ini("socket = 10.0.0.5:3031"), True),
    ("U59", ini("socket = localhost:3031"), False),
    ("U59", ini("socket = [::1]:3031"), False),
    ("U59", ini("socket = $(A):3031"), False),
    ("U59", ini("socket = 0.0.0.0:$(PORT)"), True),
    ("U59", ini("http-socket = :3031"), False),
    ("U59", ini("http = :3031"), False),
    ("U59", ini("socket = :3031", "protocol = http"), False),
    ("U59", ini("socket = /run/app.sock"), False),
    ("U59", docker(ini("socket = :3031")), True),  # a hint
    ("U72", ini("reuse-port = false", machine="net.ipv4.tcp_migrate_req = 0"), False),
    ("U72", ini("reuse-port = true"), False),
    ("U80", ini(UNIX, "chmod-socket = 664"), False),
    ("U80", ini(UNIX, "chmod-socket ="), True),
    ("U80", ini(UNIX, "chmod-socket = $(M)6"), False),
    ("U80", ini(TCP, "chmod-socket = 666"), False),
    ("U80", ini("chmod-socket = 666"), False),
    ("U80", docker(ini(UNIX, "chmod-socket = 666")), True),  # a hint
]
LOGGING = [
    ("U51", ini("log-master = false"), False),
    ("U51", ini("logger = file:x"), True),
    ("U51", ini("log-master = true", "logger = file:x"), True),
    ("U51", ini("log-master = true", "log-master-bufsize = 65536"), False),
    ("U51", ini("if-env = X", "logger = file:x", "endif ="), False),
    ("U63", ini("ignore-sigpipe = true", "ignore-write-errors = true"), True),
    ("U63", ini("ignore-sigpipe = false"), False),
    ("U87", ini("disable-logging = false"), False),
    ("U87", ini("disable-logging = true", "log-slow = 1000"), False),
]
DEVELOPMENT = [
    ("U53", ini("thunder-lock = false", "harakiri = 30", "threads = 2"), False),
    ("U53", ini("thunder-lock = true", "threads = 2"), False),
    ("U53", ini("thunder-lock = true", "harakiri = 30"), False),
    ("U53", ini("thunder-lock = true", "evil-reload-on-rss = 900", "threads = 2"), True),
    ("U58", ini("uid = 0"), True),
    ("U58", ini("uid = root", "emperor = /etc/uwsgi", "emperor-tyrant = true"), False),
    ("U58", ini("uid = rooter"), False),
    ("U71", ini("limit-as = 0"), False),
    ("U74", ini("py-autoreload = 0"), False),
    ("U74", ini("if-env = DEBUG", "py-autoreload = 1", "endif ="), False),
    ("U75", ini("catch-exceptions = false"), False),
    ("U81", ini("touch-reload = x"), False),
]
GOOD = [
    (code, {"uwsgi.ini": PREFORK}, False)
    for code in ("U07", "U08", "U10", "U18", "U32", "U41", "U44", "U50", "U65")
]
NGINX = "events {}\nhttp { server { location / { proxy_pass http://127.0.0.1:%d; } } }\n"
PIP = {"requirements.txt": "uwsgi\n"}
OTHERS = [
    ("U60", ini("http = 127.0.0.1:8000", **{"nginx.conf": NGINX % 9000}), False),
    ("U60", ini("http-socket = :8000", **{"nginx.conf": NGINX % 8000}), False),
    ("U60", ini("http = :8000", **{"nginx.conf": NGINX % 8000}), True),
    ("U60", ini("http = :8000"), False),
    ("U82", ini("plugins = http, python3", **PIP), True),
    ("U82", ini("plugin = http", **PIP), False),
    ("U82", ini("home = python3", **PIP), False),
    ("U82", ini("need-plugin = python"), False),
    ("U82", ini("need-plugins = http,python", **PIP), True),
]
CASES = [
    *OTHERS,
    *NUMBERS, *WORKERS, *LOADING, *FORKING, *HARAKIRI, *STOPPING, *SOCKETS, *LOGGING, *DEVELOPMENT,
    *GOOD,
]  # fmt: skip
