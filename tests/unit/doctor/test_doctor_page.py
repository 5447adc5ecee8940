"""docs/doctor.md shows what the doctor prints; the pre-commit hook calls what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilient_wsgi import cli
from resilient_wsgi.cli.main import known
from tests.unit.doctor.test_documented import BLOCK

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/doctor.md").read_text()
SHOWN = dict(BLOCK.findall(PAGE))


def test_the_example_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    for name in ("uwsgi.ini", "mysite.conf", "mysite.service"):
        (tmp_path / name).write_text(SHOWN[name])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out == SHOWN["resilient-wsgi doctor"]


def test_the_ignore_of_the_page_ignores(tmp_path, monkeypatch, capsys):
    ignoring = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "uwsgi.ini").write_text(ignoring)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "--select=U19,U00"]) == 0
    assert "0 errors, 0 warnings, 0 hints" in capsys.readouterr().out
    (tmp_path / "uwsgi.ini").write_text(ignoring.replace("; doctor: ignore U19", ";"))
    cli.main(["doctor", "--select=U19,U00"])
    assert "warning U19" in capsys.readouterr().out


def test_the_hook_and_the_workflow_are_what_the_page_says():
    yaml = pytest.importorskip("yaml")
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repo,) = yaml.safe_load(SHOWN[".pre-commit-config.yaml"])["repos"]
    assert [each["id"] for each in repo["hooks"]] == [hook["id"]]
    assert hook["entry"].split() == ["resilient-wsgi", "doctor"]
    assert "doctor" in known()
    assert hook["pass_filenames"] is False
    names = [
        "uwsgi.ini",
        "deploy/nginx.conf",
        "x.service",
        "k8s/web.yaml",
        "Dockerfile.prod",
        "Procfile",
    ]
    assert all(re.search(hook["files"], name) for name in names)
    assert not re.search(hook["files"], "app/views.py")
