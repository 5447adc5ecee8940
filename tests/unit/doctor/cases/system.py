from tests.unit.doctor.completing import ini

MASTER = "master = true"


def unit(*lines, uwsgi=(MASTER,), start="/usr/bin/uwsgi --ini /etc/uwsgi.ini"):
    text = "\n".join(["[Service]", f"ExecStart={start}", *lines, ""])
    return {**ini(*uwsgi), "x.service": text}


def image(*lines, uwsgi=(MASTER,), base="python:3"):
    return {**ini(*uwsgi), "Dockerfile": "\n".join([f"FROM {base}", *lines, ""])}


def compose(*lines, uwsgi=(MASTER,)):
    text = "\n".join(["services:", "  web:", *(f"    {each}" for each in lines), ""])
    return {**ini(*uwsgi), "compose.yml": text}


def pod(*lines, spec=(), kind="Deployment", uwsgi=(MASTER,), command="[uwsgi, --ini, uwsgi.ini]"):
    text = [
        "apiVersion: v1", f"kind: {kind}", "metadata: {name: web}", "spec:", "  template:", "    spec:",
        *(f"      {each}" for each in spec), "      containers:", "      - name: app",
        f"        command: {command}", *(f"        {each}" for each in lines), "",
    ]  # fmt: skip
    return {**ini(*uwsgi), "web.yaml": "\n".join(text)}


TERM = (MASTER, "die-on-term = true")
UWSGI = 'CMD ["uwsgi", "--ini", "uwsgi.ini"]'
RUN = "command: uwsgi --ini uwsgi.ini"
SLEEP = "lifecycle: {{preStop: {{exec: {{command: [sh, -c, 'sleep {}']}}}}}}"
SYSCTLS = "securityContext: {{sysctls: [{{name: {}, value: '{}'}}]}}"
HTTP = "{}Probe: {{httpGet: {{path: {}, port: {}}}, timeoutSeconds: 5}}"

CASES = [
    # signals
    ("S04", unit("KillSignal=SIGQUIT", uwsgi=TERM), True),
    ("S04", unit("KillSignal=3", uwsgi=TERM), True),
    ("S04", unit("KillSignal=SIGQUIT"), False),
    ("S04", unit("KillSignal=SIGTERM"), True),
    ("S04", unit("KillSignal=SIGTERM", uwsgi=TERM), False),
    ("S04", unit("KillSignal=SIGINT", uwsgi=TERM), False),
    ("S04", unit("KillSignal=SIGHUP"), True),
    ("S04", unit(uwsgi=(MASTER,)), False),  # the default: U10's
    ("S04", unit("KillSignal=SIGQUIT", uwsgi=("die-on-term = true",)), False),  # no master
    ("S04", unit("KillSignal=SIGTERM", uwsgi=(MASTER, "hook-master-start = unix_signal:15 gracefully_kill_them_all")), False),
    ("S04", unit("KillSignal=SIGTERM", uwsgi=(MASTER, "if-env = X", "die-on-term = true", "endif =")), False),
    ("S04", unit("KillSignal=SIGTERM", uwsgi=(MASTER, "exit-on-reload = true")), False),
    ("S04", unit("KillSignal=SIGQUIT", uwsgi=TERM, start="/usr/bin/uwsgi --ini /etc/other.ini"), False),
    ("S04", unit("KillSignal=SIGQUIT", uwsgi=TERM, start="/usr/bin/gunicorn x"), False),
    ("S04", unit("KillSignal=SIGQUIT", "ExecStop=/bin/kill -INT $MAINPID", uwsgi=TERM), False),
    ("S04", {**unit(uwsgi=TERM), "x.service.d/a.conf": "[Service]\nKillSignal=SIGQUIT\n"}, True),
    ("S04", {**unit(uwsgi=TERM), "y.service.d/a.conf": "[Service]\nKillSignal=SIGQUIT\n"}, False),
    ("S04", image("STOPSIGNAL SIGQUIT", UWSGI, uwsgi=TERM), False),
    ("S20", unit("KillSignal=SIGQUIT", uwsgi=TERM), False),
    ("S20", image("STOPSIGNAL SIGQUIT", UWSGI, uwsgi=TERM), True),
    ("S20", image("STOPSIGNAL SIGINT", UWSGI, uwsgi=TERM), False),
    ("S20", image("STOPSIGNAL SIGTERM", UWSGI, uwsgi=TERM), False),
    ("S20", image("STOPSIGNAL SIGTERM", UWSGI), True),
    ("S20", image("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT", UWSGI), False),
    ("S20", compose(RUN, "stop_signal: SIGHUP"), True),
    ("S20", compose(RUN, "stop_signal: SIGINT"), False),
    # the shell
    ("S22", image("CMD uwsgi a.ini"), True),
    ("S22", image("CMD exec uwsgi a.ini"), False),
    ("S22", image('CMD ["uwsgi", "a.ini"]'), False),
    ("S22", image('ENTRYPOINT ["sh", "-c", "uwsgi a.ini"]'), True),
    ("S22", image('SHELL ["/bin/bash", "-c"]', "CMD uwsgi a.ini"), False),
    ("S22", image("CMD uwsgi a.ini", base="python:3-alpine"), False),
    ("S22", image("CMD python x.py"), False),
    ("S22", compose('command: sh -c "migrate && gunicorn x"', "image: python:3"), True),
    ("S22", compose('command: bash -c "migrate && gunicorn x"'), False),
    ("S22", compose("command: gunicorn x"), False),
    ("S22", image("CMD migrate && nginx -g x"), False),
    ("S22", {**image("CMD uwsgi a.ini"), "compose.yml": "services: {web: {build: ., image: mine}}"}, True),
    ("S22", compose("command: sh -c 'gunicorn x'", "image: python:3-alpine"), False),
    ("S22", compose("command: sh -c 'gunicorn x'", "image: my/app"), True),
    ("S22", compose("command: bash -c 'gunicorn x | tee log'"), True),
    ("S22", unit(start="/bin/sh -c 'uwsgi a.ini'"), False),
    # grace
    ("U40", unit("TimeoutStopSec=60", uwsgi=(MASTER, "worker-reload-mercy = 59")), False),
    ("U40", unit("TimeoutStopSec=60", uwsgi=(MASTER, "worker-reload-mercy = 60")), True),
    ("U40", unit("TimeoutStopSec=infinity", uwsgi=(MASTER, "worker-reload-mercy = 600")), False),
    ("U40", unit(uwsgi=(MASTER, "worker-reload-mercy = 90")), True),
    ("U40", unit(), False),
    ("U40", compose(RUN), True),
    ("U40", compose(RUN, "stop_grace_period: 2m"), False),
    ("U40", compose("command: gunicorn x"), False),
    ("U40", pod(uwsgi=(MASTER, "worker-reload-mercy = 20")), False),
    ("S05", pod(SLEEP.format(30)), True),
    ("S05", pod(SLEEP.format(29)), False),
    ("S05", pod(SLEEP.format(15), uwsgi=(MASTER, "worker-reload-mercy = 15")), True),
    ("S05", pod(SLEEP.format(15), spec=["terminationGracePeriodSeconds: 31"], uwsgi=(MASTER, "worker-reload-mercy = 15")), False),
    ("S05", pod("lifecycle: {preStop: {sleep: {seconds: 40}}}"), True),
    ("S05", pod("lifecycle: {preStop: {exec: {command: [resilient-wsgi, drain, --pidfile, x, --timeout, '40']}}}"), True),
    ("S05", pod("lifecycle: {preStop: {exec: {command: [/stop.sh]}}}"), False),
    ("S05", pod(SLEEP.format(15), uwsgi=(MASTER, "if-env = X", "worker-reload-mercy = 15", "endif =")), False),
    ("S05", pod(SLEEP.format(30), command="[celery]"), False),
    ("S06", pod(), True),
    ("S06", pod(SLEEP.format(5)), False),
    ("S06", pod(kind="Job"), False),
    ("S06", pod(command="[celery, worker]"), False),
    ("S06", pod(command="[gunicorn, x]"), True),
    # units
    ("S23", unit(), True),
    ("S23", unit("Restart=no"), True),
    ("S23", unit("Restart=on-failure"), False),
    ("S23", unit(start="/bin/true"), False),
    ("S24", unit("Type=forking"), True),
    ("S24", unit("Type=forking", uwsgi=(MASTER, "daemonize = /var/log/x")), False),
    ("S24", unit("Type=notify", uwsgi=(MASTER, "daemonize = /var/log/x")), True),
    ("S24", unit(uwsgi=(MASTER, "daemonize = /var/log/x")), True),
    ("S24", unit("Type=forking", start="/usr/bin/uwsgi --ini /etc/uwsgi.ini --daemonize /x"), False),
    ("S24", unit("Type=forking", uwsgi=(MASTER, "ini = other.ini")), False),
    ("S24", unit("Type=notify"), False),
    ("S24", unit("Type=forking", start="/usr/bin/uwsgi --ini /etc/other.ini"), False),
    ("S24", {**ini(MASTER), "x.service": "[Service]\nType=forking\n"}, False),
    ("S24", unit(uwsgi=(MASTER, "if-env = X", "daemonize = /x", "endif =")), False),
    # what there is
    ("S01", pod(spec=[SYSCTLS.format("net.core.somaxconn", 1024)], uwsgi=("listen = 1024",)), False),
    ("S01", pod(spec=[SYSCTLS.format("net.core.somaxconn", 1023)], uwsgi=("listen = 1024",)), True),
    ("S01", pod(spec=[SYSCTLS.format("net.core.somaxconn", 99)]), True),
    ("S01", compose(RUN, "sysctls: {net.core.somaxconn: 128}", uwsgi=("listen = 1024",)), True),
    ("S01", compose(RUN, "sysctls: [net.core.somaxconn=4096]", uwsgi=("listen = 1024",)), False),
    ("S01", compose(RUN, uwsgi=("listen = 1024",)), False),
    ("S03", unit("LimitNOFILE=1048576"), False),
    ("S03", unit("LimitNOFILE=1048577"), True),
    ("S03", unit("LimitNOFILE=infinity", uwsgi=(MASTER, "max-fd = 1000")), False),
    ("S03", unit("LimitNOFILE=1024:infinity"), False),
    ("S03", compose(RUN, "ulimits: {nofile: 2000000}"), True),
    ("S21", pod(spec=[SYSCTLS.format("net.ipv4.tcp_fin_timeout", 9)]), False),
    ("S21", pod(spec=[SYSCTLS.format("net.core.somaxconn", 4096)]), True),
    ("U69", unit("MemoryMax=1G", uwsgi=(MASTER, "processes = 4", "reload-on-rss = 256")), False),
    ("U69", unit("MemoryMax=1023M", uwsgi=(MASTER, "processes = 4", "reload-on-rss = 256")), True),
    ("U69", unit("MemoryMax=1G", uwsgi=(MASTER, "processes = 400")), False),
    ("U69", unit("MemoryMax=infinity", uwsgi=(MASTER, "processes = 4", "reload-on-rss = 256")), False),
    ("U69", pod("resources: {limits: {memory: 500Mi}}", uwsgi=(MASTER, "processes = 2", "reload-on-rss = 256")), True),
    ("U69", unit("MemoryMax=1G", uwsgi=(MASTER, "processes = %k", "reload-on-rss = 900")), False),
    ("S11", compose(RUN, "shm_size: 15m"), True),
    ("S11", compose(RUN, "shm_size: 16m"), False),
    ("S11", compose("command: redis-server", "shm_size: 1m"), False),
    ("S11", compose(RUN), False),
    ("S11", pod(), False),
    ("S17", compose(RUN, "logging: {driver: fluentd}"), True),
    ("S17", compose(RUN, "logging: {driver: fluentd, options: {mode: non-blocking}}"), False),
    ("S17", compose(RUN, "logging: {driver: json-file}"), False),
    ("S17", compose("command: redis-server", "logging: {driver: fluentd}"), False),
    # probes
    ("S07", pod(HTTP.format("liveness", "/", 80)), True),
    ("S07", pod(HTTP.format("readiness", "/", 80)), False),
    ("S07", pod(HTTP.format("liveness", "/", 9000), uwsgi=(MASTER, "http-socket = :8000")), False),
    ("S07", pod(HTTP.format("liveness", "/", 8000), uwsgi=(MASTER, "http-socket = :8000")), True),
    ("S07", pod(HTTP.format("liveness", "/", "web"), "ports: [{name: web, containerPort: 8000}, {containerPort: 9}]", uwsgi=(MASTER, "http-socket = :8000")), True),
    ("S07", pod(HTTP.format("liveness", "/", 9), "ports: [{containerPort: 8000}, {containerPort: 9}]"), False),
    ("S07", pod(HTTP.format("liveness", "/", 80), command="[celery]"), False),
    ("S07", pod(HTTP.format("liveness", "/", "stats"), "ports: [{name: web, containerPort: 8000}, {name: stats, containerPort: 9}]", uwsgi=(MASTER, "http-socket = :8000")), False),
    ("S18", pod(HTTP.format("liveness", "/h", 80), HTTP.format("readiness", "/h", 80)), True),
    ("S18", pod(HTTP.format("liveness", "/l", 80), HTTP.format("readiness", "/h", 80)), False),
    ("S18", pod(HTTP.format("liveness", "/h", 80)), False),
    ("S18", pod(), False),
    ("S18", pod(HTTP.format("liveness", "/h", 80), HTTP.format("readiness", "/h", 80), command="[celery]"), False),
    ("S19", pod("readinessProbe: {httpGet: {path: /, port: 80}}"), True),
    ("S19", pod("readinessProbe: {httpGet: {path: /, port: 80}, timeoutSeconds: 2}"), False),
    ("S19", pod("readinessProbe: {tcpSocket: {port: 80}}"), False),
    ("S19", pod("livenessProbe: {exec: {command: [x]}, timeoutSeconds: 1}"), True),
    # this machine
    ("S02", ini(MASTER, machine="net.ipv4.tcp_abort_on_overflow = 1"), True),
    ("S02", {"Procfile": "web: x\n", "machine": "net.ipv4.tcp_abort_on_overflow = 1"}, False),
    ("S02", ini(MASTER), False),
    ("S15", ini(MASTER, machine="net.netfilter.nf_conntrack_count = 81\nnet.netfilter.nf_conntrack_max = 100"), True),
    ("S15", ini(MASTER, machine="net.netfilter.nf_conntrack_count = 80\nnet.netfilter.nf_conntrack_max = 100"), False),
    ("S15", ini(MASTER, machine="net.netfilter.nf_conntrack_count = 81"), False),
    ("S15", {"Procfile": "web: x\n", "machine": "net.netfilter.nf_conntrack_count = 81\nnet.netfilter.nf_conntrack_max = 100"}, False),
]  # fmt: skip
