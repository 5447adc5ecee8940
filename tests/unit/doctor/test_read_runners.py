"""Units, manifests, images, compose files and Procfiles: how each starts and stops a server."""

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.read import (
    compose,
    docker,
    kubernetes,
    procfile,
    runners,
    systemd,
    yaml_nodes,
)
from resilient_wsgi.doctor.read.lines import Lines
from resilient_wsgi.doctor.render import Report, github, sarif

UNIT = """\
# a comment
[Unit]
Description=x \\
  # within
  continued
[Service]
Environment="A=1 2" B=3
ExecStartPre=/bin/mkdir -p /run/x
ExecStart=-/usr/bin/uwsgi \\
    --ini /etc/x.ini
KillSignal=SIGQUIT
TimeoutStopSec=1min 30s
LimitNOFILE=1024:524288
MemoryMax=512M
"""


def unit(text):
    return systemd.parse(Lines("x.service", text))


def test_a_unit():
    runner = unit(UNIT).runner()
    assert runner.running("uwsgi").files() == ["/etc/x.ini"]
    assert runner.running("uwsgi").location.line == 9
    assert (runner.stop_signal.value, runner.stop_signal.location.line) == ("SIGQUIT", 11)
    assert (runner.stop_grace.value, runner.stop_grace.given) == (90, True)
    assert runner.descriptors.value == 1024
    assert runner.memory_bytes.value == 512 << 20
    assert runner.environment == {"A": "1 2", "B": "3"}


def test_the_defaults_of_a_unit():
    runner = unit("[Service]\nExecStart=/bin/uwsgi x.ini\n").runner()
    assert runner.stop_signal is None
    assert (runner.stop_grace.value, runner.stop_grace.given) == (90, False)


def test_an_empty_value_forgets_those_before_it():
    assert [
        s.value for s in unit("[Service]\nExecStart=a\nExecStart=\nExecStart=b\n").all("ExecStart")
    ] == ["b"]


def test_drop_ins():
    whole = systemd.merged(
        unit("[Service]\nExecStart=/bin/uwsgi x.ini\nTimeoutStopSec=5\n"),
        [systemd.parse(Lines("x.service.d/a.conf", "[Service]\n\nTimeoutStopSec=infinity\n"))],
    )
    grace = whole.runner().stop_grace
    assert (grace.value, grace.location.file, grace.location.line) == (
        float("inf"),
        "x.service.d/a.conf",
        3,
    )
    assert systemd.drop_in_of("/etc/systemd/system/x.service.d/a.conf") == "x.service"


def test_a_timer_runs_nothing():
    assert unit("[Timer]\nOnCalendar=daily\n").runner() is None


@pytest.mark.parametrize("text", ["hello", "[Service]\nhello", "a=b"])
def test_not_a_unit(text):
    with pytest.raises(systemd.NotAUnit):
        unit(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("5min 20s", 320),
        ("2h", 7200),
        ("infinity", float("inf")),
        ("500ms", 0.5),
        ("soon", None),
        ("5 apples", None),
    ],
)
def test_time_spans(text, expected):
    assert systemd.seconds(text) == expected


MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 45
      securityContext:
        sysctls:
          - {name: net.core.somaxconn, value: "1024"}
      containers:
        - name: app
          command: [uwsgi]
          args: ["--ini", "/app/uwsgi.ini"]
          env:
            - {name: LANG, value: C.UTF-8}
            - {name: KEY, valueFrom: {secretKeyRef: {name: a, key: b}}}
          resources:
            limits: {memory: 512Mi, cpu: 500m}
          livenessProbe:
            httpGet: {path: /health, port: 80}
          volumeMounts: [{name: shm, mountPath: /dev/shm}]
      volumes:
        - {name: shm, emptyDir: {medium: Memory, sizeLimit: 256Mi}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data:
  uwsgi.ini: |
    [uwsgi]
    listen = 5
  plain: "x"
"""


def manifest(text=MANIFEST):
    return kubernetes.parse(Lines("m.yaml", text))


def test_a_manifest():
    (container,) = manifest().containers()
    runner = container.runner()
    assert runner.name == "web/app"
    assert runner.running("uwsgi").files() == ["/app/uwsgi.ini"]
    assert (runner.stop_grace.value, runner.stop_grace.location.line) == (45, 7)
    assert runner.sysctls["net.core.somaxconn"].value == "1024"
    assert runner.memory_bytes.value == 512 << 20
    assert runner.cpus.value == 0.5
    assert runner.shm_bytes.value == 256 << 20
    assert runner.environment == {"LANG": "C.UTF-8"}
    assert container.probe("liveness").get("httpGet", "path").text == "/health"
    assert not container.probe("readiness")


def test_the_files_in_config_maps():
    (found,) = kubernetes.embedded(manifest())
    assert found.file == "m.yaml#uwsgi.ini"
    at = found.text.split("\n").index("listen = 5") + 1
    assert MANIFEST.split("\n")[at - 1].strip() == "listen = 5"


def test_other_kinds_have_pods_too():
    text = "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}\n---\nkind: Pod\nspec: {containers: [{name: b}]}\n---\nkind: List\nitems: [{kind: Pod, spec: {containers: [{name: c}]}}]\n"
    assert [each.name for each in manifest(text).containers()] == ["a", "b", "c"]
    assert manifest(text).runners()[0].stop_grace.value == 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1Gi", 1 << 30),
        ("1G", 10**9),
        ("512Mi", 512 << 20),
        ("64Ki", 65536),
        ("100", 100),
        ("1.5Gi", 3 << 29),
        ("many", None),
    ],
)
def test_quantities_of_memory(text, expected):
    assert kubernetes.memory_bytes(text) == expected


COMPOSE = """\
x-base: &base
  stop_signal: SIGINT
  environment: [A=1, B]
services:
  web:
    <<: *base
    command: uwsgi --ini "/a b.ini"
    stop_grace_period: 1m30s
    mem_limit: 512m
    ulimits: {nofile: {soft: 1024, hard: 4096}}
    sysctls: ["net.core.somaxconn=1024"]
    shm_size: 128mb
  other:
    entrypoint: [sh, -c, "exec gunicorn x"]
    deploy: {resources: {limits: {memory: 1G, cpus: "0.5"}}}
"""


def test_a_compose_file():
    web, other = compose.parse(Lines("c.yml", COMPOSE)).runners()
    assert web.running("uwsgi").files() == ["/a b.ini"]
    assert web.running("uwsgi").shell == ""
    assert (web.stop_signal.value, web.stop_grace.value, web.memory_bytes.value) == (
        "SIGINT",
        90,
        512 << 20,
    )
    assert (web.descriptors.value, web.shm_bytes.value) == (1024, 128 << 20)
    assert web.sysctls["net.core.somaxconn"].value == "1024"
    assert web.environment == {"A": "1"}
    assert other.running("gunicorn").shell == "sh"
    assert (other.stop_grace.value, other.stop_grace.given) == (10, False)
    assert (other.memory_bytes.value, other.cpus.value) == (1 << 30, 0.5)


DOCKERFILE = """\
# syntax=docker/dockerfile:1
FROM python:3.12 AS base
ENV LANG=C.UTF-8 X="a b"
STOPSIGNAL SIGINT
ENTRYPOINT ["tini", "--"]
RUN <<EOF
uwsgi in a heredoc
EOF
FROM node AS assets
CMD ["node"]
FROM --platform=linux/amd64 base
RUN pip install \\
    # uwsgi
    uwsgi
CMD ["uwsgi", "--ini", "a.ini"]
"""


def test_a_dockerfile():
    image = docker.parse(Lines("Dockerfile", DOCKERFILE))
    runner = image.runner()
    assert runner.running("uwsgi").files() == ["a.ini"]
    assert runner.running("uwsgi").location.line == 15
    assert (runner.stop_signal.value, runner.stop_signal.location.line) == ("SIGINT", 4)
    assert runner.environment == {"LANG": "C.UTF-8", "X": "a b"}
    assert image.base == "python:3.12"


@pytest.mark.parametrize(
    ("text", "shell", "replaces"),
    [
        ("CMD uwsgi a.ini", "sh", False),
        ('SHELL ["/bin/bash", "-c"]\nCMD x && uwsgi a.ini', "bash", True),
        ("CMD exec uwsgi a.ini", "sh", True),
        ('CMD ["uwsgi", "a.ini"]', "", True),
        ("ENTRYPOINT uwsgi a.ini\nCMD x", "sh", False),
        ('ENTRYPOINT ["uwsgi"]\nCMD ["a.ini"]', "", True),
    ],
)
def test_whether_the_shell_is_pid_1(text, shell, replaces):
    found = docker.parse(Lines("Dockerfile", f"FROM x\n{text}\n")).runner().running("uwsgi")
    assert (found.shell, found.replaces, found.files()) == (shell, replaces, ["a.ini"])


@pytest.mark.parametrize("text", ["", "RUN x", "hello world", "FROM x\nBOGUS y"])
def test_not_a_dockerfile(text):
    with pytest.raises(docker.NotADockerfile):
        docker.parse(Lines("Dockerfile", text))


def test_a_procfile():
    found = procfile.parse(
        Lines("Procfile", "# x\nweb: gunicorn x -w 4\nworker: celery -A x worker\n")
    )
    assert [each.commands[0].program for each in found.runners()] == ["gunicorn", "celery"]
    with pytest.raises(procfile.NotAProcfile):
        procfile.parse(Lines("Procfile", "hello"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "not YAML: line"),
        ("a: {{ .Values.x }}", "template"),
        ("a: |\n  {{ x }}\nb: {{ .Values.x }}", "template"),
        ("a: |\n  x\n{{- if .Values.x }}\nb: 1\n{{- end }}", "template"),
        ("{{- if .Values.x }}\na: 1\n{{- end }}", "template"),
        ("[" * 5000, "nested"),
        ("a: " + "x" * 1_100_000, "characters"),
        ("a: !!python/object/apply:os.system [true]\nb: [", "not YAML: line"),
    ],
)
def test_why_yaml_is_not_looked_at(text, why):
    with pytest.raises(yaml_nodes.NotYaml, match=why):
        yaml_nodes.documents(Lines("x", text))


def test_aliases_that_refer_to_themselves_or_to_too_much():
    text = "a: &a {<<: *a, b: 1}\nl: &l [*l]\nx0: &x0 {k: 1}\n" + "".join(
        f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
    )
    (root,) = yaml_nodes.documents(Lines("x", text))
    assert root.get("a", "b").text == "1"
    assert root.get("x29", "k").text == "1"
    assert [key for key, _ in root.get("x29").items()] == ["k"]


def test_tags_make_nothing():
    (root,) = yaml_nodes.documents(Lines("x", "a: !!python/object/apply:os.abort []"))
    assert root.get("a").is_sequence


def test_without_pyyaml_the_reason_is_given(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(
        yaml_nodes.NotYaml, match=r"needs PyYAML: pip install 'resilient-wsgi\[doctor\]'"
    ):
        yaml_nodes.documents(Lines("x", "a: 1"))


def test_a_service_takes_from_its_image_what_it_does_not_set():
    subject = from_texts(
        {
            "web/Dockerfile": 'FROM python:3\nENV A=1\nSTOPSIGNAL SIGINT\nCMD ["uwsgi", "a.ini"]\n',
            "compose.yml": "services:\n  a: {build: web}\n  b: {build: {context: ./web}, command: gunicorn x}\n  c: {image: redis}\n",
        }
    )
    a, b, c = (each for each in runners.of(subject) if each.kind == "compose service")
    assert a.running("uwsgi").files() == ["a.ini"]
    assert a.running("uwsgi").location.file == "web/Dockerfile"
    assert b.running("uwsgi") is None
    assert (b.stop_signal.value, b.environment) == ("SIGINT", {"A": "1"})
    assert (c.commands, c.stop_signal) == ([], None)


@pytest.mark.parametrize("name", ["x.service", "Dockerfile", "Procfile", "web.yaml"])
def test_a_file_that_nobody_has_written_by_hand_is_not_looked_at(name):
    head = {"x.service": "[Service]\n", "Dockerfile": "FROM x\n", "web.yaml": "apiVersion: v1\n"}
    subject = from_texts({name: head.get(name, "") + "# a comment\n" * 90_000})
    (skipped,) = subject.not_looked
    assert (skipped.what, "the limit is 1000000" in skipped.why) == (name, True)


def test_a_finding_in_a_config_map_is_shown_in_the_manifest():
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  uwsgi.ini: |\n    [uwsgi]\n"
        "    master = true\n    lazy-apps = false ; no\n"
    )
    subject = from_texts({"m.yaml": text})
    (found,) = (each for each in examine(subject) if each.code == "U01")
    assert (found.location.file, found.location.line) == ("m.yaml#uwsgi.ini", 8)
    assert found.location.path == "m.yaml"
    report = Report([found], subject, 0)
    assert github.lines(report)[0].startswith("::error file=m.yaml,line=8,title=U01::")
    (result,) = sarif.document(report, "1")["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "m.yaml"
    assert place["region"]["startLine"] == 8


def test_many_blank_lines_are_soon_known_to_be_no_image():
    assert not docker.recognises("Procfile", "\n" * 5000 + "web: gunicorn app\n")
    assert docker.recognises("image", "\n" * 5000 + "# a comment\nARG X=1\n  \nFROM python\n")


_UNIT = "[Service]\nExecStart=/bin/uwsgi --ini app.ini:{}\n"


def _unknown_options(files):
    found = examine(from_texts(files))
    return [(each.location.file, each.location.line) for each in found if each.code == "U04"]


@pytest.mark.parametrize("head", ["uwsgi", "base"])
def test_a_command_that_names_a_section_starts_that_one(head):
    ini = f"[{head}]\nproces = 1\n[web]\nmodule = a\nproces = 2\n[old]\nproces = 3\n"
    files = {"app.ini": ini, "web.service": _UNIT.format("web")}
    assert _unknown_options(files) == [("app.ini", 5)]


def test_each_command_has_the_section_that_it_names_and_the_file_stays_if_one_starts_it():
    ini = "[uwsgi]\nproces = 1\n[web]\nproces = 2\n[api]\nproces = 3\n"
    files = {f"{each}.service": _UNIT.format(each) for each in ("web", "api")}
    assert _unknown_options({"app.ini": ini, **files}) == [("app.ini", 4), ("app.ini", 6)]
    files["all.service"] = "[Service]\nExecStart=/bin/uwsgi --ini app.ini\n"
    assert _unknown_options({"app.ini": ini, **files}) == [
        ("app.ini", 2),
        ("app.ini", 4),
        ("app.ini", 6),
    ]


def test_what_a_named_section_lacks_is_missing_at_its_head():
    ini = "[uwsgi]\n[web]\nmodule = a\nsocket = 127.0.0.1:3031\n"
    found = examine(from_texts({"app.ini": ini, "web.service": _UNIT.format("web")}))
    assert {(each.location.file, each.location.line) for each in found if each.code == "U18"} == {
        ("app.ini", 2)
    }


def test_two_files_of_a_command_are_one_instance():
    files = {
        "a.ini": "[uwsgi]\nmodule = a\nsocket = 127.0.0.1:3031\n",
        "b.ini": "[uwsgi]\nharakiri = 30\n",
        "w.service": "[Service]\nExecStart=/bin/uwsgi --ini a.ini --ini b.ini\n",
    }
    assert "U18" not in {each.code for each in examine(from_texts(files))}


@pytest.mark.parametrize("head", ["|", ">-", "|2"])
def test_a_template_for_another_tool_in_a_block_is_text(head):
    text = f"a:\n  b: {head}\n    {{{{- with x -}}}}\n\n    y\n  c: 1\n"
    (node,) = yaml_nodes.documents(Lines("x", text))
    assert node.get("a", "c").text == "1"
