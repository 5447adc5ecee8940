from tests.unit.doctor.completing import ini


def http(*lines, before=()):
    return "\n".join(
        ["events {}", "http {", *before, "server {", "location / {", *lines, "}", "}", "}", ""]
    )


def both(*lines, uwsgi=("socket = 127.0.0.1:3031",), before=()):
    return {**ini(*uwsgi), "nginx.conf": http(*lines, before=before)}


def alone(*lines, before=()):
    return {"nginx.conf": http(*lines, before=before)}


PASS = "uwsgi_pass 127.0.0.1:3031;"
TCP = "socket = 127.0.0.1:3031"
TWO = "upstream app { server 10.0.0.1:3031; server 10.0.0.2:3031; }"

CASES = [
    # harakiri and the read timeout
    ("N01", both(PASS, uwsgi=(TCP, "harakiri = 60")), False),
    ("N01", both(PASS, uwsgi=(TCP, "harakiri = 59")), True),
    ("N01", both(PASS, uwsgi=(TCP,)), False),
    ("N01", both(PASS, uwsgi=(TCP, "harakiri = $(H)")), False),
    ("N01", both(PASS, "uwsgi_read_timeout 20s;", uwsgi=(TCP, "harakiri = 30")), False),
    ("N01", both(PASS, uwsgi=(TCP, "harakiri = 30"), before=["uwsgi_read_timeout 1m;"]), True),
    ("N01", both(PASS, "uwsgi_read_timeout $t;", uwsgi=(TCP, "harakiri = 30")), False),
    ("N01", both("uwsgi_pass 127.0.0.1:9;", "}", "location /b {", "uwsgi_pass 127.0.0.1:8;", uwsgi=(TCP, "harakiri = 30")), False),
    ("N02", both(PASS, uwsgi=(TCP, "harakiri = 119")), False),
    ("N02", both(PASS, uwsgi=(TCP, "harakiri = 120")), True),
    ("N02", both(PASS), True),
    ("N02", both(PASS, uwsgi=(TCP, "if-env = X", "harakiri = 30", "endif =")), False),
    ("N02", both(PASS, uwsgi=(TCP, "ini = other.ini")), False),
    ("N02", {**both(PASS), **ini(TCP, "harakiri = 3600"), "more.conf": "server { location / { uwsgi_pass 10.1.1.1:4; } }"}, True),
    # connect
    ("N03", alone("uwsgi_pass unix:/run/a.sock;"), False),
    ("N03", alone(PASS, "uwsgi_connect_timeout 5s;"), False),
    ("N03", alone(PASS, "uwsgi_connect_timeout 6s;"), True),
    ("N03", alone(PASS), True),
    ("N03", alone(PASS, before=["uwsgi_connect_timeout 2s;"]), False),
    ("N03", alone("proxy_pass http://10.0.0.1:80;"), False),
    ("N03", {"site.conf": "server { location / { include common.conf; uwsgi_pass 10.0.0.1:3031; } }"}, False),
    ("N03", {"site.conf": "server { location / { include uwsgi_params; uwsgi_pass 10.0.0.1:3031; } }"}, True),
    # protocols
    ("N04", both(PASS), False),
    ("N04", both(PASS, uwsgi=("http-socket = :3031",)), True),
    ("N04", both(PASS, uwsgi=("http = 127.0.0.1:3031",)), True),
    ("N04", both(PASS, uwsgi=("http = :8000", "uwsgi-socket = 127.0.0.1:3031")), False),
    ("N04", both("proxy_pass http://127.0.0.1:3031/;"), True),
    ("N04", both("proxy_pass http://127.0.0.1:3031/;", uwsgi=("http-socket = 127.0.0.1:3031",)), False),
    ("N04", both("proxy_pass http://127.0.0.1:8080/;"), False),
    ("N04", both("proxy_pass http://unix:/run/a.sock:/;", uwsgi=("socket = /run/a.sock",)), True),
    ("N04", both("uwsgi_pass unix:///run/a.sock;", uwsgi=("socket = /var/run/a.sock",)), False),
    ("N04", both("uwsgi_pass app:3031;", uwsgi=("http-socket = :3031",)), True),
    ("N04", both("uwsgi_pass app:3031;", uwsgi=("http-socket = 127.0.0.1:3031",)), False),
    ("N04", both(PASS, uwsgi=(TCP, "protocol = http")), True),
    # parameters
    ("N05", alone(PASS), True),
    ("N05", alone(PASS, "include uwsgi_params;"), False),
    ("N05", alone(PASS, "include /etc/nginx/uwsgi_params;"), False),
    ("N05", alone(PASS, before=["include uwsgi_params;"]), False),
    ("N05", alone(PASS, "uwsgi_param A b;", before=["include uwsgi_params;"]), True),
    ("N05", alone(PASS, "uwsgi_param REQUEST_METHOD $request_method;"), False),
    ("N05", alone(PASS, "include extra.conf;"), False),
    ("N05", {"nginx.conf": http(PASS, "include p;"), "p": "uwsgi_param A b;"}, True),
    ("N05", {"nginx.conf": http(PASS, "include p;"), "p": "uwsgi_param REQUEST_METHOD $request_method;"}, False),
    # buffers
    ("U49", both(PASS), True),
    ("U49", both(PASS, uwsgi=(TCP, "buffer-size = 8192")), False),
    ("U49", both(PASS, uwsgi=(TCP, "buffer-size = 8191")), True),
    ("U49", both(PASS, uwsgi=(TCP, "buffer-size = 8192"), before=["large_client_header_buffers 4 16k;"]), True),
    ("U49", both(PASS, before=["large_client_header_buffers 4 4k;"]), False),
    ("U49", both("proxy_pass http://127.0.0.1:3031;", uwsgi=("http-socket = 127.0.0.1:3031",)), False),
    ("N07", both(PASS, "uwsgi_request_buffering off;"), True),
    ("N07", both(PASS, "uwsgi_request_buffering on;"), False),
    ("N07", both(PASS, "uwsgi_request_buffering off;", uwsgi=(TCP, "post-buffering = 1")), False),
    ("N08", alone(PASS, "uwsgi_next_upstream error timeout;"), False),
    ("N08", alone("proxy_pass http://a;", "proxy_next_upstream error non_idempotent;"), True),
    ("N09", alone(PASS, "uwsgi_buffer_size 4k;"), False),
    ("N09", alone("proxy_pass http://a;", "proxy_buffer_size 1024;"), True),
    ("N09", alone(PASS), False),
    # paths
    ("N10", both("uwsgi_pass unix:/run/b.sock;", uwsgi=("socket = /run/a.sock",)), True),
    ("N10", both("uwsgi_pass unix:///run/a.sock;", uwsgi=("socket = /run/a.sock",)), False),
    ("N10", both("uwsgi_pass unix:/run/b.sock;", uwsgi=("socket = /run/$(APP).sock",)), False),
    ("N10", both("uwsgi_pass unix:/run/b.sock;", uwsgi=("socket = /run/a.sock", "http = :80")), False),
    ("N10", both(PASS, uwsgi=("socket = /run/a.sock",)), False),
    ("N10", both("uwsgi_pass unix:/run/b.sock;", "}", "location /c {", "uwsgi_pass unix:/run/c.sock;", uwsgi=("socket = /run/a.sock",)), False),
    # limits
    ("N11", both(PASS, uwsgi=(TCP, "limit-post = 1048576")), False),
    ("N11", both(PASS, uwsgi=(TCP, "limit-post = 1048575")), True),
    ("N11", both(PASS, "client_max_body_size 0;", uwsgi=(TCP, "limit-post = 9000000")), True),
    ("N11", both(PASS, "client_max_body_size 10m;"), False),
    ("N12", alone("uwsgi_pass app;", before=["upstream app { server a:1 max_fails=2; server b:1; }"]), False),
    ("N12", alone("uwsgi_pass app;", before=["upstream app { server a:1 max_fails=0; }"]), False),
    ("N12", alone("uwsgi_pass app;", before=["upstream app { server a:1 fail_timeout=5; include more/*; }"]), False),
    ("N12", alone("uwsgi_pass app;", before=["upstream app { server a:1 fail_timeout=5; }"]), True),
    ("N13", alone(PASS, before=["uwsgi_ignore_client_abort on;"]), True),
    ("N13", alone(PASS, "uwsgi_ignore_client_abort off;"), False),
    ("N14", both(PASS, uwsgi=(TCP, "shared-import = resilient_wsgi.uwsgi")), True),
    ("N14", both(PASS), False),
    ("N14", both(PASS, 'uwsgi_param HTTP_X_REQUEST_START "t=${msec}";', uwsgi=(TCP, "shared-import = resilient_wsgi.uwsgi")), False),
    ("N15", alone("uwsgi_pass app;", before=[TWO]), True),
    ("N15", alone("uwsgi_pass app;", "uwsgi_next_upstream_tries 2;", before=[TWO]), False),
    ("N15", alone("uwsgi_pass app;", "uwsgi_next_upstream off;", before=[TWO]), False),
    ("N15", alone("uwsgi_pass app;", before=["upstream app { server 10.0.0.1:3031; server 10.0.0.2:3031 down; }"]), False),
    ("N16", {"nginx.conf": "worker_rlimit_nofile 2048; events { worker_connections 1024; } http {}"}, False),
    ("N16", {"nginx.conf": "worker_rlimit_nofile 2047; events { worker_connections 1024; } http {}"}, True),
    ("N16", {"nginx.conf": "events { worker_connections 100000; } http {}"}, False),
    ("N17", alone("uwsgi_pass app;", before=["upstream app { server 10.0.0.1:1; keepalive 4; }"]), True),
    ("N17", alone("proxy_pass http://app;", before=["upstream app { server 10.0.0.1:1; keepalive 4; }"]), True),
    ("N17", alone("proxy_pass http://app;", "proxy_http_version 1.1;", before=["upstream app { server 10.0.0.1:1; keepalive 4; }"]), True),
    ("N17", alone("proxy_pass http://app;", "proxy_http_version 1.1;", 'proxy_set_header Connection "";', before=["upstream app { server 10.0.0.1:1; keepalive 4; }"]), False),
    ("N17", alone("proxy_pass http://app;", before=["upstream app { server 10.0.0.1:1; }"]), False),
    ("N18", alone("uwsgi_pass app:3031;"), True),
    ("N18", alone("uwsgi_pass app;"), False),
    ("N18", alone("uwsgi_pass 10.1.2.3:3031;"), False),
    ("N18", alone("uwsgi_pass [::1]:3031;"), False),
    ("N18", alone("uwsgi_pass localhost:3031;"), False),
    ("N18", alone("uwsgi_pass $app:3031;"), False),
    ("N18", alone("uwsgi_pass app;", before=["upstream app { server web:3031; }"]), True),
    ("N18", alone("uwsgi_pass app;", before=["upstream app { server web:3031 resolve; }"]), False),
    ("N20", alone(PASS, "error_log off;"), True),
    ("N20", alone(PASS, "error_log /var/log/off.log;", "access_log off;"), False),
    ("N21", alone(PASS, "uwsgi_buffering off;"), True),
    ("N21", alone(PASS, "uwsgi_buffering on;"), False),
    ("N21", {"nginx.conf": "http { server { location /events { uwsgi_pass a; uwsgi_buffering off; } } }"}, False),
]  # fmt: skip
