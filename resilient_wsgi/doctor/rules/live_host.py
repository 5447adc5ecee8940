"""What the host and the cgroup of a running instance have done to it, or will."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .live_instance import HERE, running


@rule(
    "S09",
    Severity.HINT,
    "a write to a dead peer hangs for a quarter of an hour",
    why=(
        "When a peer is gone without a word (a host that lost power, a firewall that forgot), the "
        "kernel sends data again `net.ipv4.tcp_retries2` times before the write or read fails: "
        "with 15 that is 15 minutes or more. A request that talks to its database holds a thread "
        "for that long."
    ),
    bad={"live": "master = 70\n", "machine": "net.ipv4.tcp_retries2 = 15\n"},
    good={"live": "master = 70\n", "machine": "net.ipv4.tcp_retries2 = 8\n"},
    fix="Set net.ipv4.tcp_retries2 = 8 (about 100 s), or tcp_user_timeout of each client.",
    sources=("Linux, Documentation/networking/ip-sysctl.rst", "mysqlclient#86"),
)
def retries_for_long(subject: Subject) -> Iterator[Evidence]:
    """Find tcp_retries2 above 8 where an instance runs."""
    for _ in running(subject):
        retries = subject.machine.number("net.ipv4.tcp_retries2")
        if retries is not None and retries > 8:
            yield at(HERE, f"net.ipv4.tcp_retries2 = {retries}")


@rule(
    "S10",
    Severity.HINT,
    "a connect to a dead host hangs for two minutes",
    why=(
        "A connect that nobody answers is tried again `net.ipv4.tcp_syn_retries` times: with 6 it "
        "fails after 127 s, with 3 after 15 s. Clients without a connect timeout wait that long."
    ),
    bad={"live": "master = 70\n", "machine": "net.ipv4.tcp_syn_retries = 6\n"},
    good={"live": "master = 70\n", "machine": "net.ipv4.tcp_syn_retries = 3\n"},
    fix="Set net.ipv4.tcp_syn_retries = 3, or give each client a connect timeout.",
    sources=("tcp(7)",),
)
def connects_for_long(subject: Subject) -> Iterator[Evidence]:
    """Find tcp_syn_retries above 5 where an instance runs."""
    for _ in running(subject):
        retries = subject.machine.number("net.ipv4.tcp_syn_retries")
        if retries is not None and retries > 5:
            yield at(HERE, f"net.ipv4.tcp_syn_retries = {retries}")


@rule(
    "S12",
    Severity.ERROR,
    "the kernel has killed a process for memory",
    why=(
        "The cgroup was at its memory limit, and the kernel killed one of its processes with "
        "SIGKILL, in the middle of whatever it did. If it was the master, the whole instance is "
        "gone. It comes again: the limit is too low, there are too many workers, or one leaks."
    ),
    bad={"live": "master = 70\nmemory.oom_kill = 2\n"},
    good={"live": "master = 70\nmemory.oom_kill = 0\n"},
    fix="Have fewer processes, set reload-on-rss, or raise the limit.",
    sources=("cgroup-v2: memory.events, oom_kill", "reportportal/kubernetes#203"),
)
def killed_for_memory(subject: Subject) -> Iterator[Evidence]:
    """Find an oom_kill counter above 0."""
    for live in running(subject):
        count = live.number("memory.oom_kill")
        if count is not None and count > 0:
            yield at(HERE, f"the cgroup of {live.name}: oom_kill = {count}")


@rule(
    "S13",
    Severity.WARNING,
    "the processor time of the instance is throttled",
    why=(
        "The cgroup had used up its quota before the period of 100 ms was over, and all threads "
        "stood still until the next one. Requests take longer, and so do heartbeats and probes. "
        "Usually there are more workers than processors in the quota."
    ),
    bad={"live": "master = 70\ncpu.periods = 1000\ncpu.throttled = 200\n"},
    good={"live": "master = 70\ncpu.periods = 1000\ncpu.throttled = 5\n"},
    fix="Raise the quota, or have no more workers than processors in it.",
    sources=("cgroup-v2: cpu.stat, nr_throttled",),
)
def throttled(subject: Subject) -> Iterator[Evidence]:
    """Compare the periods that were throttled with all periods."""
    for live in running(subject):
        periods, count = live.number("cpu.periods"), live.number("cpu.throttled")
        if periods is not None and count is not None and count > 0.05 * periods:
            message = f"the cgroup of {live.name}: throttled in {count} of {periods} periods"
            yield at(HERE, f"{message} ({100 * count / periods:.0f} %)")


@rule(
    "S14",
    Severity.WARNING,
    "the cgroup has room for few more threads",
    why=(
        "At `pids.max` no thread and no process can be made: `can't start new thread`, and a "
        "worker that dies is not started again."
    ),
    bad={"live": "master = 70\npids.current = 95\npids.max = 100\n"},
    good={"live": "master = 70\npids.current = 20\npids.max = 100\n"},
    fix="Raise TasksMax (systemd) or the pids limit of the container; look for a leak of threads.",
    sources=("cgroup-v2: pids.max",),
)
def few_pids_left(subject: Subject) -> Iterator[Evidence]:
    """Compare the threads in the cgroup with its limit."""
    for live in running(subject):
        used, most = live.number("pids.current"), live.number("pids.max")
        if used is not None and most is not None and used > 0.8 * most:
            yield at(HERE, f"the cgroup of {live.name}: {used} of {most} threads")


@rule(
    "S16",
    Severity.HINT,
    "only root can see where threads stand",
    why=(
        "With `kernel.yama.ptrace_scope` 2 or 3 debuggers such as py-spy and gdb need root, or do "
        "not work at all. When the service hangs, that is the moment to know another way."
    ),
    bad={"live": "master = 70\n", "machine": "kernel.yama.ptrace_scope = 2\n"},
    good={"live": "master = 70\n", "machine": "kernel.yama.ptrace_scope = 1\n"},
    fix="Use `resilient-wsgi stacks PID`, which needs no ptrace.",
    sources=("Linux, Documentation/admin-guide/LSM/Yama.rst", "benfred/py-spy#8"),
)
def no_ptrace(subject: Subject) -> Iterator[Evidence]:
    """Find a kernel that lets only root trace."""
    for _ in running(subject):
        scope = subject.machine.number("kernel.yama.ptrace_scope")
        if scope is not None and scope >= 2:
            yield at(HERE, f"kernel.yama.ptrace_scope = {scope}")
