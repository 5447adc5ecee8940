"""Rules about loading the app: what happens if it fails, where it is loaded, how it is replaced."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .examples import PREFORK, also, without
from .uwsgi_facts import (
    APPS,
    LOADER,
    READY,
    brief,
    hooks_accepting,
    imports_library,
    is_before,
    is_ready_hook,
    is_since,
    loads_with_library,
    whole,
)
from .versions import pinned, shown, version_of

_LIBRARY = ("shared-import = resilient_wsgi.uwsgi", "hook-accepting = rpc:resilient_wsgi_ready")
_LAZY = "\n".join(("[uwsgi]", "lazy-apps = true", *_LIBRARY, ""))


@rule(
    "U08",
    Severity.WARNING,
    "need-app is missing: a worker without an app answers 500 for ever",
    why=(
        'If the app cannot be imported uWSGI logs it and goes on without ("full dynamic mode"). '
        "Such a worker answers 500 at once, so it attracts the most requests: measured, 1 of 2 "
        "workers failed and 12 of 20 requests got 500. Nothing ends that but a restart."
    ),
    bad={"uwsgi.ini": without("need-app")},
    good={"uwsgi.ini": also(*_LIBRARY, text=without("need-app"))},
    fix="Set need-app = true. With lazy-apps that ends the whole instance if one worker fails to "
    "load: the library restarts that worker instead (shared-import = resilient_wsgi.uwsgi, "
    "hook-accepting = rpc:resilient_wsgi_ready).",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi_init_all_apps()",
        "unbit/uwsgi#1172",
        "docs/incidents/failed-load.md",
    ),
)
def no_need_app(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations without need-app, unless the library restarts such workers."""
    for config in whole(subject):
        if config.off("need-app") and not loads_with_library(config):
            yield at(
                config.last("need-app") or config,
                "need-app is not set: a worker that cannot import the app answers 500",
            )


@rule(
    "U09",
    Severity.WARNING,
    "need-app with lazy-apps: one failed load ends the whole instance",
    why=(
        "With `lazy-apps` each worker loads the app, also when it is started again. If that fails "
        "once, for want of memory or because a database was away, uWSGI kills all workers and "
        "exits with code 22 (measured), although the others serve well."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = true\nneed-app = true\n"},
    good={"uwsgi.ini": f"{_LAZY}need-app = false\n"},
    fix="Replace need-app by the library's two lines, which restart only the worker that failed: "
    "shared-import = resilient_wsgi.uwsgi, hook-accepting = rpc:resilient_wsgi_ready.",
    sources=("uWSGI 2.0.31, core/master.c: exit code 22", "unbit/uwsgi#2640"),
)
def need_app_with_lazy_apps(subject: Subject) -> Iterator[Evidence]:
    """Find both options; a hint if the library restarts workers that fail."""
    for config in subject.uwsgi:
        need = config.last("need-app")
        if need and config.on("need-app") and config.on("lazy-apps"):
            message = "one worker that fails to load the app ends the instance"
            if loads_with_library(config):
                message = f"in pyuwsgi and on musl {message}, the library's two lines or not"
                fix = "Leave it as it is in any other uWSGI; in these leave need-app out."
                yield at(
                    need, f"need-app with lazy-apps: {message}", fix=fix, severity=Severity.HINT
                )
            else:
                yield at(need, f"need-app with lazy-apps: {message}")


@rule(
    "U33",
    Severity.WARNING,
    "lazy changes how workers are reloaded; lazy-apps is meant",
    why=(
        "`lazy` loads the app in the workers, as `lazy-apps` does, and besides makes SIGHUP "
        "reload only the workers: a new configuration or new uWSGI is not taken up. uWSGI's "
        "documentation discourages it."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy = true\n"},
    good={"uwsgi.ini": _LAZY},
    fix="Set lazy-apps = true instead.",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi.lazy",
        "https://uwsgi-docs.readthedocs.io/en/latest/articles/TheArtOfGracefulReloading.html",
    ),
)
def lazy(subject: Subject) -> Iterator[Evidence]:
    """Find lazy."""
    for config in subject.uwsgi:
        option = config.last("lazy")
        if option and config.on("lazy"):
            yield at(option, "lazy = true: a reload does not take up a new configuration")


@rule(
    "U34",
    Severity.HINT,
    "lazy-apps before uWSGI 2.0.30: native libraries may crash at the exit of a worker",
    why=(
        "Until 2.0.29 a worker with lazy-apps finalized Python after the destructors of native "
        "libraries had run. Libraries with threads of their own (protobuf, pyarrow, tracers) "
        "crash then, at every reload."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = true\n", "machine": "uwsgi = 2.0.28"},
    good={"uwsgi.ini": _LAZY, "machine": "uwsgi = 2.0.31"},
    fix="Install uWSGI 2.0.30 or newer, or set skip-atexit = true.",
    sources=("uWSGI, Changelog of 2.0.30", "unbit/uwsgi#2726"),
)
def lazy_apps_in_old_version(subject: Subject) -> Iterator[Evidence]:
    """Compare the version of uWSGI where apps are loaded in workers."""
    version = version_of(subject, "uwsgi")
    old = is_before(version, (2, 0, 30))
    for config in subject.uwsgi:
        option = config.last("lazy-apps")
        if option and old and config.on("lazy-apps") and config.lacks("skip-atexit"):
            yield at(
                option,
                f"lazy-apps, and uWSGI is {shown(version)}: native libraries may "
                "crash at the exit of a worker",
            )


@rule(
    "U35",
    Severity.HINT,
    "lazy-apps since uWSGI 2.0.30: mules and spoolers run no atexit functions",
    why=(
        "Since 2.0.30 the cleanup at exit is registered where a lazy worker loads its app. Mules "
        "never get there, so `uwsgi.atexit` and Python's `atexit` do not run in them; spoolers "
        "are killed at each stop anyway."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = true\nmule = worker.py\n", "machine": "uwsgi = 2.0.31"},
    good={"uwsgi.ini": "[uwsgi]\nmule = worker.py\n", "machine": "uwsgi = 2.0.31"},
    fix="Handle SIGTERM, SIGINT and SIGHUP in the mule itself, and make spooler tasks repeatable.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_worker_run(), atexit(uwsgi_plugins_atexit)",),
)
def no_atexit_in_mules(subject: Subject) -> Iterator[Evidence]:
    """Find mules and spoolers beside lazy-apps, where the version is known."""
    since = is_since(version_of(subject, "uwsgi"), (2, 0, 30))
    for config in subject.uwsgi:
        helper = config.last("mule", "mules", "spooler")
        if helper and since and config.on("lazy-apps"):
            yield at(helper, f"{helper.name} with lazy-apps: its atexit functions are not run")


@rule(
    "U41",
    Severity.WARNING,
    "single-interpreter is missing: the app runs in a sub-interpreter",
    why=(
        "Without `single-interpreter` each app after the first gets a sub-interpreter. C "
        "extensions that do not expect one misbehave there, modules are loaded once for each, and "
        "the hooks of the second app (`uwsgi.post_fork_hook`, `uwsgi.atexit`) never run "
        "(measured)."
    ),
    bad={
        "uwsgi.ini": also(
            "mount = /=mysite.wsgi:application",
            "mount = /api=api.wsgi:application",
            text=without("module", "single-interpreter"),
        )
    },
    good={"uwsgi.ini": PREFORK},
    fix="Set single-interpreter = true.",
    sources=(
        "uWSGI 2.0.31, plugins/python/pyloader.c: init_uwsgi_app()",
        "https://www.bloomberg.com/company/stories/configuring-uwsgi-production-deployment/",
    ),
)
def several_interpreters(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations without the option; a hint if there is one app."""
    for config in whole(subject):
        apps = config.all(*APPS)
        if config.off("single-interpreter"):
            yield at(
                config.last("single-interpreter") or config,
                f"single-interpreter is not set, and there are {len(apps)} apps"
                if len(apps) > 1
                else "single-interpreter is not set",
                severity=Severity.WARNING if len(apps) > 1 else Severity.HINT,
            )


@rule(
    "U42",
    Severity.ERROR,
    "a chain reload without lazy-apps starts the old code again",
    why=(
        "A chain reload replaces one worker after the other by forking the master again. Without "
        "`lazy-apps` the master has loaded the app itself, and the new workers run what it had "
        "loaded: the deployment seems to succeed and the old code goes on."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nprocesses = 4\ntouch-chain-reload = /run/app/reload\n"},
    good={"uwsgi.ini": f"{_LAZY}processes = 4\ntouch-chain-reload = /run/app/reload\n"},
    fix="Set lazy-apps = true, or reload with touch-reload or SIGHUP.",
    sources=(
        "uWSGI 2.0.31, core/master.c: uwsgi_chain_reload()",
        "https://uwsgi-docs.readthedocs.io/en/latest/articles/TheArtOfGracefulReloading.html",
    ),
)
def chain_reload_without_lazy_apps(subject: Subject) -> Iterator[Evidence]:
    """Find chain reloads where the app is certainly loaded in the master."""
    for config in subject.uwsgi:
        option = config.last("touch-chain-reload")
        if option and config.off("lazy-apps") and config.off("lazy"):
            yield at(option, f"{option.name} without lazy-apps: workers keep running the old code")


@rule(
    "U43",
    Severity.WARNING,
    "a chain reload of one process is an outage",
    why=(
        "A chain reload stops one worker and waits until its successor accepts. If there is only "
        "one, nobody serves meanwhile; and if the new code fails to load, nobody does at all."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = true\ntouch-chain-reload = /run/app/reload\n"},
    good={"uwsgi.ini": f"{_LAZY}processes = 2\ntouch-chain-reload = /run/app/reload\n"},
    fix="Set processes = 2 or more.",
    sources=("uWSGI 2.0.31, core/master.c", "unbit/uwsgi#2001"),
)
def chain_reload_of_one(subject: Subject) -> Iterator[Evidence]:
    """Find chain reloads of a single process."""
    for config in subject.uwsgi:
        option = config.last("touch-chain-reload")
        if option and config.number("processes", 1) in {0, 1}:
            yield at(option, f"{option.name} with processes = 1: nobody serves during a reload")


@rule(
    "U55",
    Severity.WARNING,
    "hook-accepting calls a function whose answer ends the instance if it is not bytes",
    why=(
        "If the function of `hook-accepting = rpc:...` is unknown, raises, or returns anything "
        "but non-empty bytes (a str, None), uWSGI takes the worker for failed and stops the whole "
        "instance (measured)."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nhook-accepting = rpc:warm_up\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nshared-import = resilient_wsgi.uwsgi\n"
        "hook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix="Have the function return b'1' whatever happens, and register it in a module of "
    "shared-import.",
    sources=("uWSGI 2.0.31, core/hooks.c: uwsgi_hook_rpc(), accepting hooks are fatal",),
)
def rpc_hook(subject: Subject) -> Iterator[Evidence]:
    """Find hooks that call a function other than the library's."""
    for config in subject.uwsgi:
        for option in hooks_accepting(config):
            if option.value.startswith("rpc:") and not is_ready_hook(option):
                yield at(
                    option,
                    f"{option.name} = {brief(option)}: the instance stops if it returns no bytes",
                )


@rule(
    "U61",
    Severity.WARNING,
    "wsgi-file and import load the same file twice",
    why=(
        "`wsgi-file` loads the file as a module of its own name (`uwsgi_file_...`). If it is also "
        "imported by its name, its code runs twice: two registries, two connection pools, two "
        "threads."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nwsgi-file = wsgi.py\nimport = wsgi\n"},
    good={"uwsgi.ini": "[uwsgi]\nmodule = wsgi\nimport = tasks\n"},
    fix="Set module = NAME instead of wsgi-file, and remove the import.",
    sources=("uWSGI 2.0.31, plugins/python/pyloader.c: uwsgi_file_loader()",),
)
def loaded_twice(subject: Subject) -> Iterator[Evidence]:
    """Compare the name of the file of the app with what is imported."""
    for config in subject.uwsgi:
        file = config.last("wsgi-file", "file")
        if file is None:
            continue
        name = file.value.partition(":")[0].rpartition("/")[2]
        for option in config.all("import", "shared-import"):
            if name.endswith(".py") and option.value.rpartition(".")[2] == name[:-3]:
                yield at(
                    option,
                    f"{option.name} = {brief(option)}, and {file.name} = {brief(file)}: its code "
                    "runs twice",
                )


@rule(
    "U84",
    Severity.ERROR,
    "one of the library's two lines is missing or misspelt",
    why=(
        "`shared-import = resilient_wsgi.uwsgi` registers the function that `hook-accepting = "
        "rpc:resilient_wsgi_ready` calls in each worker. The hook without the import stops the "
        "instance at its start, because uWSGI does not know the function. The import without the "
        "hook cannot see that a worker has no app before it gets its first request."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nhook-accepting = rpc:resilient_wsgi_ready\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nshared-import = resilient_wsgi.uwsgi\n"
        "hook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix=f"Set both: shared-import = {LOADER} and hook-accepting = rpc:{READY}.",
    sources=("README.md", "core/hooks.c: uwsgi_hook_rpc()"),
)
def half_of_the_library(subject: Subject) -> Iterator[Evidence]:
    """Find one of the two lines without the other."""
    for config in subject.uwsgi:
        ready = [option for option in hooks_accepting(config) if is_ready_hook(option)]
        imports = imports_library(config)
        if config.complete and ready and not imports:
            message = f"hook-accepting calls {READY}, and {LOADER} is not imported: uWSGI stops"
            yield at(ready[0], message)
        if config.complete and imports and not ready:
            message = f"{LOADER} is imported, and hook-accepting does not call {READY}"
            yield at(imports[0], message, severity=Severity.WARNING)


@rule(
    "U82",
    Severity.HINT,
    "pip's uWSGI has Python built in, and no plugin for it",
    why=(
        "The packages of distributions have languages as plugins; the uWSGI that pip builds has "
        'Python in it. `plugins = python3` then only logs "UNABLE to load uWSGI plugin" at each '
        "start, but `need-plugin = python3` ends it."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nplugins = python3\nneed-plugin = python3\n",
        "requirements.txt": "uwsgi==2.0.31\n",
    },
    good={"uwsgi.ini": "[uwsgi]\nplugins = python3\n", "requirements.txt": "django==5.2\n"},
    fix="Remove the line, if the uWSGI that runs is pip's.",
    sources=(
        "uWSGI 2.0.31, core/plugins.c: uwsgi_load_plugin()",
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_load_plugin()",
    ),
)
def plugin_that_is_built_in(subject: Subject) -> Iterator[Evidence]:
    """Find plugins for Python where the requirements have uWSGI; an error where one is needed."""
    for config in subject.uwsgi:
        for option in config.options:
            needed = option.name in {"need-plugin", "need-plugins"}
            for name in option.value.split(","):
                python = name.strip().startswith("python") and pinned(subject, "uwsgi", "pyuwsgi")
                if python and (needed or option.name in {"plugin", "plugins"}):
                    what = "uWSGI exits at startup" if needed else "it is not there"
                    yield at(
                        option,
                        f"{option.name} = {name.strip()}, and uWSGI is pip's: {what}",
                        severity=Severity.ERROR if needed else None,
                    )


@rule(
    "U05",
    Severity.HINT,
    "strict is missing: misspelt options are ignored",
    why=(
        "Without `strict` uWSGI takes an option that it does not know for a placeholder and says "
        "nothing. The doctor finds misspelt names, too (U04), but not in a file that it is not "
        "shown."
    ),
    bad={"uwsgi.ini": without("strict")},
    good={"uwsgi.ini": PREFORK},
    fix="Set strict = true; placeholders of your own become set-placeholder = name=value.",
    sources=(
        "uWSGI 2.0.31, core/config.c: uwsgi_opt_get()",
        "https://www.bloomberg.com/company/stories/configuring-uwsgi-production-deployment/",
    ),
)
def not_strict(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations that are not strict."""
    for config in whole(subject):
        if config.off("strict"):
            yield at(config.last("strict") or config, "strict is not set")
