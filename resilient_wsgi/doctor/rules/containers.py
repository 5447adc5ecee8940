"""What a container or a unit grants: memory, descriptors, sysctls, shared memory, its log."""

from __future__ import annotations

from typing import Iterator

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read import runners
from ..subject import Subject
from .live_instance import HERE, running
from .stop_grace import PRE_STOP, deployment
from .stop_signals import unit

SOMAXCONN = "net.core.somaxconn"
MOST_DESCRIPTORS = 1 << 20
LEAST_SHM_BYTES = 16 << 20
# Kubernetes lets a pod set these; any other must be allowed by the kubelet of the node
SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)  # fmt: skip
_WAITING_DRIVERS = ("fluentd", "gelf", "syslog", "awslogs", "splunk", "gcplogs", "logentries")


def _sysctl(name: str, value: str) -> str:
    return f"securityContext:\n  sysctls:\n    - name: {name}\n      value: '{value}'"


@rule(
    "S01",
    Severity.ERROR,
    "the container's somaxconn is below listen",
    why=(
        "A container has a network namespace of its own, with its own `net.core.somaxconn`. uWSGI "
        "compares `listen` with it at start, and exits if `listen` is larger: incident 4."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nlisten = 1024\n",
        "web.yaml": deployment(PRE_STOP, _sysctl(SOMAXCONN, "512")),
    },
    good={
        "uwsgi.ini": "[uwsgi]\nlisten = 1024\n",
        "web.yaml": deployment(PRE_STOP, _sysctl(SOMAXCONN, "4096")),
    },
    fix="Set net.core.somaxconn of the container to at least listen.",
    sources=("uWSGI 2.0.31, core/socket.c: uwsgi_bind_sockets", "incident 4 (small backlog)"),
)
def somaxconn_of_the_container(subject: Subject) -> Iterator[Evidence]:
    """Compare listen with the sysctl that its container sets."""
    for runner, config in pairing.pairs(subject):
        asked, allowed = config.number("listen", 100), runner.number(SOMAXCONN)
        if allowed is not None and asked is not None and asked > allowed.value:
            yield at(allowed.location, f"{SOMAXCONN} = {allowed.value}, listen = {asked}")


@rule(
    "S03",
    Severity.WARNING,
    "descriptors without a limit, and no max-fd",
    why=(
        "uWSGI makes a table with room for every descriptor that it may open, and on a reload it "
        "closes them one by one. With a limit of 2^30 (`LimitNOFILE=infinity`) that is gigabytes "
        "of memory, or a start that fails, and reloads that take minutes."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nmaster = true\n", "app.service": unit("LimitNOFILE=infinity")},
    good={
        "uwsgi.ini": "[uwsgi]\nmax-fd = 65536\n",
        "app.service": unit("LimitNOFILE=infinity"),
    },
    fix="Set max-fd = 65536, or LimitNOFILE=65536.",
    sources=("unbit/uwsgi#2299, #2698", "uWSGI 2.0.31, core/uwsgi.c: max-fd"),
)
def unlimited_descriptors(subject: Subject) -> Iterator[Evidence]:
    """Find limits of descriptors above 2^20 for an instance without max-fd."""
    for runner, config in pairing.pairs(subject):
        fact = runner.descriptors
        if fact is not None and fact.value > MOST_DESCRIPTORS and config.lacks("max-fd"):
            yield at(fact.location, f"up to {fact.value} descriptors, and no max-fd")


@rule(
    "U69",
    Severity.WARNING,
    "the workers together may use more memory than there is",
    why=(
        "A worker is replaced when it is larger than `reload-on-rss`. If all workers may be that "
        "large, and together exceed the memory limit, the kernel kills one of them, or the master, "
        "in the middle of a request, and it does so again and again."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nmaster = true\nprocesses = 8\nreload-on-rss = 512\n",
        "app.service": unit("MemoryMax=2G"),
    },
    good={
        "uwsgi.ini": "[uwsgi]\nmaster = true\nprocesses = 4\nreload-on-rss = 400\n",
        "app.service": unit("MemoryMax=2G"),
    },
    fix="Have fewer processes, a lower reload-on-rss, or a higher limit.",
    sources=("searxng#447", "reportportal/kubernetes#203"),
)
def more_memory_than_there_is(subject: Subject) -> Iterator[Evidence]:
    """Compare processes x reload-on-rss with the memory limit."""
    for runner, config in pairing.pairs(subject):
        limit, rss = runner.memory_bytes, config.last("reload-on-rss")
        processes, each = config.number("processes", 1), config.number("reload-on-rss")
        if limit is None or rss is None or processes is None or each is None:
            continue
        if processes * each << 20 > limit.value:
            yield at(
                rss,
                f"{processes} processes x reload-on-rss {each} MB = {processes * each} MB, "
                f"limit of {runner}: {limit.value >> 20} MB",
            )


@rule(
    "S11",
    Severity.WARNING,
    "the shared memory is small",
    why=(
        "The scoreboard of this library, gunicorn's heartbeat files and the shared memory of other "
        "libraries live in /dev/shm. When it is full, a write to it is SIGBUS, or ENOSPC."
    ),
    bad={"compose.yml": "services:\n  web:\n    command: uwsgi --ini a.ini\n    shm_size: 1m\n"},
    good={"compose.yml": "services:\n  web:\n    command: uwsgi --ini a.ini\n    shm_size: 64m\n"},
    fix="Give it 64 MB: shm_size (Compose), --shm-size (Docker), sizeLimit of the emptyDir.",
    sources=("pytorch#5247", "docs/security.md"),
)
def small_shared_memory(subject: Subject) -> Iterator[Evidence]:
    """Find servers whose /dev/shm was made smaller than 16 MB."""
    for runner in runners.of(subject):
        fact = runner.shm_bytes
        if runner.commands and fact and fact.value < LEAST_SHM_BYTES:
            yield at(fact.location, f"{fact.value >> 10} kB of shared memory")
    for live in running(subject):
        free = live.number("shm.free")
        if free is not None and free < LEAST_SHM_BYTES:
            yield at(HERE, f"{live.name}: {free >> 10} kB of shared memory are free")


@rule(
    "S17",
    Severity.WARNING,
    "the log driver blocks the app",
    why=(
        "Docker reads the app's output, and hands each line to the log driver. When the log server "
        "behind it is slow or gone, the driver blocks, the pipe fills after 64 kB, and every "
        "worker stands in a write: incident 5. `mode: non-blocking` drops lines instead."
    ),
    bad={
        "compose.yml": "services:\n  web:\n    command: uwsgi --ini a.ini\n    logging:\n"
        "      driver: fluentd\n"
    },
    good={
        "compose.yml": "services:\n  web:\n    command: uwsgi --ini a.ini\n    logging:\n"
        "      driver: fluentd\n      options: {mode: non-blocking, max-buffer-size: 4m}\n"
    },
    fix="Set the option mode: non-blocking, and max-buffer-size: 4m.",
    sources=(
        "Docker docs, Configure logging drivers: delivery mode",
        "incident 5 (stalled stderr)",
    ),
)
def waiting_log_driver(subject: Subject) -> Iterator[Evidence]:
    """Find services of a server whose log driver sends lines away and may block."""
    for compose in subject.composes:
        for runner, node in zip(compose.runners(), compose.services.values()):
            driver = node.get("logging", "driver")
            mode = node.get("logging", "options", "mode")
            if runner.commands and driver.text in _WAITING_DRIVERS and mode.text != "non-blocking":
                yield at(driver.location, f"driver {driver.text} in blocking mode")


@rule(
    "S21",
    Severity.HINT,
    "the kubelet must allow this sysctl",
    why=(
        "Kubernetes lets a pod set only a few sysctls. Any other, `net.core.somaxconn` too, must "
        "be allowed on the node (`--allowed-unsafe-sysctls`); where it is not, the pod is rejected "
        "with SysctlForbidden."
    ),
    bad={"web.yaml": deployment(PRE_STOP, _sysctl(SOMAXCONN, "4096"))},
    good={"web.yaml": deployment(PRE_STOP, _sysctl("net.ipv4.tcp_keepalive_time", "60"))},
    fix="Allow it in the kubelet's configuration, or set it on the nodes themselves.",
    sources=("Kubernetes docs, Using sysctls", "kube-linter: unsafe-sysctls"),
)
def unsafe_sysctls(subject: Subject) -> Iterator[Evidence]:
    """Find sysctls of pods that are not in Kubernetes' safe set."""
    for manifest in subject.manifests:
        for runner in manifest.runners():
            for name, fact in runner.sysctls.items():
                if name not in SAFE_SYSCTLS:
                    yield at(fact.location, f"{name} is not in the safe set of Kubernetes")
