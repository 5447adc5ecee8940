"""The files that `init` writes."""

from __future__ import annotations

import os
import re
from typing import Dict, List

from .project import Project

_LISTEN = 1024
_HEAD = """[uwsgi]
; resilient_wsgi: workers without an app exit, threads end at reloads, a stalled log blocks nothing
shared-import = resilient_wsgi.uwsgi
hook-accepting = rpc:resilient_wsgi_ready

; a misspelt option ends uWSGI instead of being ignored
strict = true
master = true
"""
_TAIL = """
; each worker loads the app for itself: threads and connections of its own
lazy-apps = true
single-interpreter = true
enable-threads = true

; SIGTERM stops uWSGI instead of reloading it
die-on-term = true
vacuum = true

; seconds of a request, before its worker is killed; the library ends its waits 1.5 s before
harakiri = 30
; seconds that a reload lets requests go on
worker-reload-mercy = 30
; headers with large cookies
buffer-size = 32768
max-fd = 65536
"""
_NGINX = """# in the http block of nginx, /etc/nginx/conf.d/{name}.conf for one
upstream {name} {{
    server unix:/run/{name}/uwsgi.sock;
}}

server {{
    listen 80;
    server_name {name}.example;

    location / {{
        include uwsgi_params;
        uwsgi_pass {name};
        uwsgi_connect_timeout 5s;
        # above harakiri: an answer at the deadline still arrives
        uwsgi_read_timeout 35s;
        # the app then knows how long a request has waited
        uwsgi_param HTTP_X_REQUEST_START "t=${{msec}}";
    }}
}}
"""
_UNIT = """# /etc/systemd/system/{name}.service
[Unit]
Description={name}
After=network.target

[Service]
Type=notify
NotifyAccess=all
# a user of its own: useradd --system {name}
User={name}
Group=www-data
WorkingDirectory={directory}
RuntimeDirectory={name}
Environment=LANG=C.UTF-8
ExecStart={uwsgi} --ini {ini}
ExecReload=/bin/kill -HUP $MAINPID
KillSignal=SIGTERM
KillMode=mixed
# above worker-reload-mercy
TimeoutStopSec=45
Restart=always
RestartSec=1
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""
_KUBERNETES = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      # more than preStop and worker-reload-mercy together
      terminationGracePeriodSeconds: 90
      containers:
        - name: web
          image: {name}
          command: [uwsgi, --ini, uwsgi.ini]
          env:
            - {{name: LANG, value: C.UTF-8}}
          ports:
            - containerPort: 8000
          resources:
            requests: {{cpu: "1", memory: 512Mi}}
            limits: {{memory: 512Mi}}
          # the probes read what the workers write about themselves: a full queue fails none of them
          startupProbe:
            exec: {{command: [resilient-wsgi, ready, --pidfile, /tmp/uwsgi.pid]}}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            exec: {{command: [resilient-wsgi, ready, --pidfile, /tmp/uwsgi.pid]}}
            periodSeconds: 5
            timeoutSeconds: 2
          livenessProbe:
            exec: {{command: [resilient-wsgi, ready, --live, --pidfile, /tmp/uwsgi.pid]}}
            periodSeconds: 10
            timeoutSeconds: 2
          lifecycle:
            preStop:
              exec: {{command: [resilient-wsgi, drain, --pidfile, /tmp/uwsgi.pid, --timeout, "45"]}}
"""


def files(project: Project, folder: str, somaxconn: int) -> Dict[str, str]:
    """Return the texts by path below the folder.

    For a project with a Dockerfile or a compose file: uwsgi.ini that listens on port 8000, and
    Kubernetes' probes. Otherwise uwsgi.ini with a UNIX socket, nginx and a systemd unit.
    """
    values = {
        "name": project.name,
        "directory": folder.replace("%", "%%"),
        "ini": _word(os.path.join(folder, "uwsgi.ini")),
        "uwsgi": _word(os.path.join(folder, project.virtualenv, "bin", "uwsgi"))
        if project.virtualenv
        else "/usr/local/bin/uwsgi",
    }
    if project.container:
        ini = _ini(project, _in_container(), _LISTEN)
        return {"uwsgi.ini": ini, "deploy/kubernetes.yaml": _KUBERNETES.format(**values)}
    return {
        "uwsgi.ini": _ini(project, _on_a_host(project.name), min(_LISTEN, somaxconn)),
        "deploy/nginx.conf": _NGINX.format(**values),
        f"deploy/{project.name}.service": _UNIT.format(**values),
    }


def _word(path: str) -> str:
    """Return a path as one word of systemd's ExecStart."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return text if re.fullmatch(r"[\w/.@%:,+-]+", text) else f'"{text}"'


def _ini(project: Project, sockets: List[str], listen: int) -> str:
    lines = [
        "; %d is the folder of this file",
        f"chdir = %d{project.chdir}",
        f"module = {project.app}",
        *([f"virtualenv = %d{project.virtualenv}"] if project.virtualenv else []),
        "",
        *sockets,
        "; a burst waits here; uWSGI refuses to start if this is above net.core.somaxconn",
        f"listen = {listen}",
        "",
        "; as many as memory allows: each is a copy of the app",
        "processes = 4",
    ]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _on_a_host(name: str) -> List[str]:
    return [
        f"socket = /run/{name}/uwsgi.sock",
        "chmod-socket = 660",
        f"pidfile = /run/{name}/uwsgi.pid",
    ]


def _in_container() -> List[str]:
    return ["http-socket = 0.0.0.0:8000", "pidfile = /tmp/uwsgi.pid"]
