"""nginx in front of uWSGI, with a generated nginx.conf."""

from __future__ import annotations

import os
import socket
from typing import List, Mapping, Sequence

from .base import Process, find_tool, free_port

CONFIGURATION = """\
daemon off;
{user}worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/log;
events {{ worker_connections 4096; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    upstream app {{ {servers} }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            uwsgi_pass app;
            uwsgi_next_upstream off;
            uwsgi_read_timeout {read_timeout:g}s;
            uwsgi_connect_timeout {connect_timeout:g}s;
            {parameters}
        }}
    }}
}}
"""
# the file uwsgi_params of nginx, which is not in the same place everywhere
PARAMETERS = {
    "QUERY_STRING": "$query_string", "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length", "REQUEST_URI": "$request_uri",
    "PATH_INFO": "$document_uri",
    "SERVER_PROTOCOL": "$server_protocol", "REQUEST_SCHEME": "$scheme",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port", "SERVER_PORT": "$server_port", "SERVER_NAME": "$server_name",
}  # fmt: skip


class Nginx(Process):
    """nginx on a free port, which passes everything to uWSGI sockets in turn.

    :param upstreams: "host:port" or the path of a UNIX socket.
    :param read_timeout: `uwsgi_read_timeout`, seconds.
    :param connect_timeout: `uwsgi_connect_timeout`, seconds. :param workers: processes.
    :param parameters: further lines `uwsgi_param`, by name.
    :raises ToolMissing: "nginx not found", on entry.
    """

    name = "nginx"

    def __init__(
        self,
        upstreams: Sequence[str],
        *,
        read_timeout: float = 60.0,
        connect_timeout: float = 60.0,
        workers: int = 1,
        parameters: Mapping[str, str] | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(env=env)
        self.port = 0
        self._upstreams = upstreams
        self._read_timeout = read_timeout
        self._connect_timeout = connect_timeout
        self._workers = workers
        self._parameters = {**PARAMETERS, **(parameters or {})}

    def command(self) -> List[str]:
        """Write nginx.conf and return the command line."""
        binary = find_tool("nginx", "/usr/sbin", "/usr/local/sbin")
        self.port = free_port()
        # without max_fails=0 nginx would stop asking an upstream that failed once, and answer by
        # itself
        names = [name if ":" in name else f"unix:{name}" for name in self._upstreams]
        text = CONFIGURATION.format(
            directory=self.directory,
            # as root its workers would become another user, who may not enter a temporary folder
            user="user root;\n" if os.geteuid() == 0 else "",
            port=self.port,
            workers=self._workers,
            servers=" ".join(f"server {name} max_fails=0;" for name in names),
            read_timeout=self._read_timeout,
            connect_timeout=self._connect_timeout,
            parameters=" ".join(
                f"uwsgi_param {name} {value};" for name, value in self._parameters.items()
            ),
        )
        (self.directory / "nginx.conf").write_text(text)
        return [
            binary,
            "-p",
            str(self.directory),
            "-c",
            str(self.directory / "nginx.conf"),
            "-e",
            str(self._log_path),
        ]

    def is_ready(self) -> bool:
        """Return whether its port accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
