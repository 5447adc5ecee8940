"""What each line that the library logs means, and what to do about it, by the code it begins with.

Imported by `resilient-wsgi explain` and the docs only.
"""

from __future__ import annotations

from typing import Dict, NamedTuple


class Explanation(NamedTuple):
    """Of one kind of log line."""

    line: str
    """How the line begins, after its code; or what it is about."""
    meaning: str
    action: str
    page: str
    """The page of the docs that has more."""


LIBRARY: Dict[str, Explanation] = {
    "RW001": Explanation(
        "resilient_wsgi VERSION on SERVER: ...",
        "The startup line, logged once by the first worker of an instance: which components are "
        "active, in which mode, and which deadline requests have. What does not work here follows, "
        "with the reason.",
        "Nothing. Check that the deadline is what you expect.",
        "settings",
    ),
    "RW002": Explanation(
        "wrap() without install()",
        "The app is wrapped, so requests have deadlines, but no component was installed: outbound "
        "calls have no limits, threads are not stopped, and log writes may block.",
        "Call `resilient_wsgi.install()` before `wrap()`, or add `resilient_wsgi.django` to "
        "INSTALLED_APPS.",
        "start/django-uwsgi",
    ),
    "RW003": Explanation(
        "ignored, and the default is used: ...",
        "A setting has an unknown name or an invalid value. Only this option falls back to its "
        "default.",
        "Correct the option that the line names. `manage.py check` lists all mistakes.",
        "settings",
    ),
    "RW004": Explanation(
        "... could not be installed",
        "A component raised an exception while it was installed. The app runs without that "
        "component.",
        "Report the traceback. Until then, set the component's MODE to off to silence the line.",
        "settings",
    ),
    "RW005": Explanation(
        "... could not be put around an app",
        "A component raised an exception in `wrap()`. The app is served without that component.",
        "Report the traceback.",
        "settings",
    ),
    "RW006": Explanation(
        "error inside resilient_wsgi",
        "The library caught an exception of its own. The request or thread went on as without the "
        "library. Logged at most once a minute, with how many there were.",
        "Report the traceback. `RESILIENT_WSGI_<COMPONENT>=off` switches the component off.",
        "limits",
    ),
    "RW007": Explanation(
        "uWSGI's configuration has ... warnings: ...",
        "Logged once by the first worker, after the startup line: what the doctor finds in the "
        "options that uWSGI was started with, each with the code of its rule.",
        "`resilient-wsgi doctor uwsgi.ini` has a fix for each, and `--explain CODE` the reason. To "
        "keep an option as it is, write `; doctor: ignore CODE -- why` above it in uwsgi.ini.",
        "rules/index",
    ),
}

OUTBOUND: Dict[str, Explanation] = {
    "RW101": Explanation(
        "gave up on HOST after ... s",
        "An outbound HTTP call was ended by a limit of the library. The line names the phase "
        "(dns, connect, tls, write, headers, body), the limit, who set it, and the line of the "
        "app. The app got its client's own timeout exception.",
        "If the upstream hangs: nothing, this is the protection. If it is slow by nature, set "
        "`OUTBOUND.HOSTS[host]`, or give the call a timeout of its own.",
        "outbound",
    ),
    "RW102": Explanation(
        "...: call to HOST ... dry run, the call was not limited",
        "In a dry run of OUTBOUND, a call had no timeout, or took longer than its limit would "
        "have allowed.",
        "Give that line of the app a timeout. `resilient-wsgi report PID` lists all such lines.",
        "outbound",
    ),
}

BULKHEAD: Dict[str, Explanation] = {
    "RW111": Explanation(
        "limited HOST: ... of ... threads wait for it",
        "No thread was idle, and calls to this upstream that are far older than usual held more "
        "than their share of them. Those above the share are ended, and new ones fail at once "
        "with the client's own exception, so that requests that do not need it are served. A "
        "probe finds out within about a second that it answers again.",
        "See why the upstream hangs. If it is slow by nature, give it a share of its own: "
        "`BULKHEAD.HOSTS[host]['SHARE']`.",
        "fair-share",
    ),
    "RW112": Explanation(
        "HOST answers again and is no longer limited",
        "The upstream answers in time. The line has how many calls were refused and ended.",
        "Nothing.",
        "fair-share",
    ),
    "RW113": Explanation(
        "no upstream is limited: ...",
        "The worker has no place in the scoreboard (shared memory), so its threads are not "
        "shared fairly: an upstream that hangs can hold all of them.",
        "Do what the reason says: make room in /dev/shm, for one.",
        "fair-share",
    ),
}

DRIVERS: Dict[str, Explanation] = {
    "RW121": Explanation(
        "gave up on DRIVER HOST:PORT after ... s",
        "The wait of a driver (database, cache, broker, mail) was ended by the request's deadline, "
        "by `deadline.limit()`, or by DRIVERS.CONNECT_TIMEOUT. The app got the driver's own "
        "exception; the connection is closed. In a dry run it was not ended.",
        "If that server hangs: nothing, this is the protection. If the request may take longer, "
        "use REQUEST.PATHS; if connecting may, give the driver a connect timeout of its own. "
        "DRIVERS.EXEMPT leaves a driver alone.",
        "drivers",
    ),
}

REQUEST: Dict[str, Explanation] = {
    "RW201": Explanation(
        "METHOD /path has run for ... s",
        "A request has used 80 % of its time (REQUEST.SLOW_AFTER). The stacks of all threads "
        "follow, and what the request waits for. Logged once for a request.",
        "Look at the stack of the request's thread: that is where its time goes.",
        "requests",
    ),
    "RW202": Explanation(
        "METHOD /path has passed its deadline",
        "The request is still running after its deadline. The line says how many of its waits "
        "were ended, or what it waits for and why that cannot be ended.",
        "If no wait could be ended, give that wait a timeout in the app. If the request may take "
        "longer, use REQUEST.PATHS and raise harakiri.",
        "requests",
    ),
    "RW203": Explanation(
        "ended the wait for ...",
        "A wait for a socket (a database, a cache, mail, a raw socket) was ended because its "
        "request has passed its deadline. The driver raised its own connection error; the worker "
        "goes on.",
        "Give that client a timeout of its own, or the request more time (REQUEST.PATHS). "
        '`REQUEST.END_WAITS = "known"` ends HTTP calls only.',
        "requests",
    ),
    "RW204": Explanation(
        "worker N (pid P) is draining and will be replaced",
        "A request has passed REQUEST.TIMEOUT or PATHS and OVERDUE_GRACE, and nothing could end "
        "it. The worker finishes its other requests and is replaced; at most 6 a minute.",
        "The stacks of RW201 for the same request show where it hangs. If it may take longer, "
        "raise the limit that the line names.",
        "requests",
    ),
    "RW205": Explanation(
        "worker N (pid P) was killed in METHOD /path",
        "A worker ended in the middle of a request: harakiri, the kernel's out-of-memory killer, "
        "a crash, or `kill -9`. Logged by a worker that starts later, with the last stacks.",
        "Look for HARAKIRI in uWSGI's log, for `oom-kill` in the kernel's, for a segmentation "
        "fault in either.",
        "requests",
    ),
    "RW206": Explanation(
        "skipped METHOD /path: its client is gone",
        "The client hung up while the request waited in the listen queue, so the app was not "
        "called. Level DEBUG.",
        "Nothing. Many of them mean that requests wait too long: see RW301.",
        "requests",
    ),
    "RW207": Explanation(
        "the client of METHOD /path left after ... s",
        "The client hung up while its request was running, and END_ON_CLIENT_GONE is set.",
        "Nothing.",
        "requests",
    ),
    "RW211": Explanation(
        "...: killed workers will not be reported, nor stuck ones replaced",
        "The worker found no shared memory (a full /dev/shm, no writable directory), so the "
        "instance has no scoreboard. Limits and deadlines work; what needs other workers does not.",
        "Make room in the directory that the line names, or set RUNTIME_DIRECTORY to a private "
        "one (systemd: `RuntimeDirectory=`).",
        "requests",
    ),
    "RW212": Explanation(
        "no stacks on demand",
        "The worker could not open the socket by which `resilient-wsgi stacks` asks it.",
        "See the reason in the line. `stacks` falls back to a signal.",
        "requests",
    ),
    "RW213": Explanation(
        "no stacks, no GIL_TIMEOUT, and no worker is replaced because of a request",
        "On this build of Python the stacks of threads cannot be read safely after uWSGI's fork.",
        "Nothing; deadlines and ended waits work. `py-call-uwsgi-fork-hooks = true` helps where "
        "the line says so.",
        "requests",
    ),
    "RW214": Explanation(
        "waits for sockets are not ended: ...",
        "At a request's deadline only waits of HTTP calls are ended here. The line says why: a "
        "process that has changed its user, a kernel that refuses socket filters, gevent.",
        "Start the server as the user it runs as (systemd `User=`) instead of uWSGI's `uid =` or "
        "gunicorn's `--user`.",
        "requests",
    ),
}

OVERLOAD: Dict[str, Explanation] = {
    "RW301": Explanation(
        "overloaded: requests that wait longer than ... s are answered 503",
        "More requests arrive than the workers can serve, and clients hang up before they have "
        "their answer. Requests that have waited too long are answered 503 at once, so that the "
        "others are answered in time.",
        "Add capacity, or find what made requests slow (RW101, RW201). List your health checks "
        "in OVERLOAD.CRITICAL.",
        "overload",
    ),
    "RW302": Explanation(
        "overload over: ... requests were answered 503",
        "No request had to be shed for a while.",
        "Nothing.",
        "overload",
    ),
    "RW303": Explanation(
        "shed METHOD /path",
        "One request that was answered 503 by overload protection. Level DEBUG.",
        "Nothing.",
        "overload",
    ),
    "RW311": Explanation(
        "listen queue of SOCKET: asked ..., effective ...",
        "The kernel holds fewer waiting connections for this socket than configured, or fewer "
        "than BACKLOG.MINIMUM (1024). Bursts above that are refused.",
        "Raise net.core.somaxconn in the network namespace of the server, then `listen`.",
        "incidents/small-backlog",
    ),
}

STDERR: Dict[str, Explanation] = {
    "RW401": Explanation(
        "... lines (... bytes) dropped",
        "The reader of the log had stalled, or was too slow beyond the bounds, so lines were "
        "dropped instead of blocking every thread. Reported when there is room again.",
        "Find out why the log reader stopped: `resilient-wsgi unstick PID` shows the pipe.",
        "stderr",
    ),
    "RW402": Explanation(
        "descriptor N can no longer block",
        "Standard output or standard error was made unable to block; the line says how.",
        "Nothing.",
        "stderr",
    ),
    "RW403": Explanation(
        "what uWSGI itself logs ... can block every worker",
        "What Python writes cannot block, but uWSGI's own lines go to a socket or a shared pipe "
        "that the library left alone.",
        "Follow the fix in the line: STDERR.TAKE_OVER, disable-logging, or "
        "`resilient-wsgi exec -- uwsgi ...`.",
        "stderr",
    ),
}

THREADS: Dict[str, Explanation] = {
    "RW501": Explanation(
        "thread NAME stopped in ... s",
        "A background thread ended when it was asked to.",
        "Nothing.",
        "threads",
    ),
    "RW502": Explanation(
        "thread NAME did not stop within ... s",
        "A background thread did not end in its grace. It was left behind, so that the reload or "
        "the stop could go on. Its stack and where it was started follow.",
        "Let the thread wait on an event that can be set: `resilient_wsgi.threads.spawn`.",
        "threads",
    ),
    "RW503": Explanation(
        "waiting up to ... s for work that requests have started",
        "The exit gives threads and jobs that requests have started time to finish.",
        "Nothing.",
        "threads",
    ),
    "RW504": Explanation(
        "... jobs that requests have put into executors were not finished",
        "The exit ran out of time before all jobs of executors were done.",
        "Raise worker-reload-mercy (uWSGI) or graceful_timeout (gunicorn), or move such work to "
        "a task queue.",
        "threads",
    ),
    "RW505": Explanation(
        "the exit waits for thread NAME (dry run",
        "In a dry run of THREADS: this thread would have been left behind.",
        "As for RW502.",
        "threads",
    ),
    "RW506": Explanation(
        "background thread NAME failed",
        "A registered background thread, or one run of periodic work, raised an exception.",
        "See the traceback. Periodic work goes on unless `on_error` says otherwise.",
        "threads",
    ),
    "RW507": Explanation(
        "thread NAME does not run in this process",
        "The thread was started before the fork (at import, in the master), and threads do not "
        "survive a fork. Whatever it did is not done in this worker.",
        "Start it after the fork (`resilient_wsgi.threads.spawn`), or name it in THREADS.RESTART.",
        "threads",
    ),
    "RW508": Explanation(
        "thread NAME, started before the fork, was restarted",
        "THREADS.RESTART names the thread, and it was started again in this worker.",
        "Nothing.",
        "threads",
    ),
    "RW509": Explanation(
        "executor of thread NAME was used before the fork and has new threads",
        "A thread pool of concurrent.futures that was used before the fork works again.",
        "Nothing.",
        "threads",
    ),
    "RW511": Explanation(
        "the exit of this process is cut short",
        "The exit took longer than the server's mercy allows. The line shows where it hangs.",
        "Repair what hangs in that stack (an atexit function, a thread's join), or raise the "
        "server's mercy.",
        "threads",
    ),
    "RW512": Explanation(
        "stale threads could not be marked as dead on this Python",
        "On an unknown version of CPython, thread objects from before the fork look alive.",
        "Report the version. `join()` of such a thread may hang.",
        "threads",
    ),
}

READINESS: Dict[str, Explanation] = {
    "RW601": Explanation(
        "worker N has no app",
        "The app could not be loaded in this worker. It answers nothing, and tries again after a "
        "growing pause, instead of answering 500 for ever.",
        "Repair what the line names (an import error, a missing variable) and deploy again.",
        "readiness",
    ),
    "RW602": Explanation(
        "worker N is degraded",
        "Of several mounted apps some could not be loaded; the others are served.",
        "Repair the app that the line names.",
        "readiness",
    ),
    "RW603": Explanation(
        "worker N has its app again",
        "A load succeeded after some that failed.",
        "Nothing.",
        "readiness",
    ),
    "RW604": Explanation(
        "worker N (pid P) loads its app / serves without an app for ... s",
        "Another worker found that this one is stuck in its load, or serves without an app.",
        "Look at its stacks: `resilient-wsgi stacks PID`.",
        "readiness",
    ),
    "RW605": Explanation(
        "no worker ever loaded the app ...: the instance ends",
        "Since the start no worker could load the app, so the instance exits and its supervisor "
        "sees the failed start.",
        "Repair what the line names.",
        "readiness",
    ),
    "RW606": Explanation(
        "worker N (pid P) exits",
        "The worker is replaced by its master, because it was drained.",
        "Nothing.",
        "readiness",
    ),
    "RW607": Explanation(
        "the load in the master takes longer than ... s",
        "The master imports the app (prefork), and READINESS.STARTUP_TIMEOUT is over: the stacks "
        "of all threads follow, and the instance ends, so that its supervisor starts it again.",
        "See in the stack what the import waits for, or raise the limit.",
        "readiness",
    ),
}

EXPLANATIONS: Dict[str, Explanation] = {
    **LIBRARY,
    **OUTBOUND,
    **BULKHEAD,
    **DRIVERS,
    **REQUEST,
    **OVERLOAD,
    **STDERR,
    **THREADS,
    **READINESS,
}
