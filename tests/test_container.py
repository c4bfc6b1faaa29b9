"""The image and the compose file: what can be checked of them without a Docker engine, and what could not be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.settings import load_settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = [name for name, service in COMPOSE["services"].items() if service["image"].startswith("rollout-guardian")]
IMAGES = [
    *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE),
    *(service["image"] for service in COMPOSE["services"].values()),
]


@pytest.mark.parametrize("image", IMAGES)
def test_images_are_pinned(image):
    """
    Every image has a tag of at least three numbers, so that tomorrow's build is today's.
    """
    assert re.fullmatch(r"[a-z/.-]+:\d+\.\d+\.\d+[a-z0-9.-]*", image)


def test_settings_in_the_environment_are_settings():
    """
    Each GUARDIAN_ variable of the image and of the compose file is a setting, with a value that it may have.
    """
    environ = dict(re.findall(r"(GUARDIAN_\w+)=(\S+)", DOCKERFILE)) | COMPOSE["services"]["guardian"]["environment"]

    settings = load_settings(ROOT / "config" / "guardian.yaml", environ)

    assert "kafka:9092" == settings.kafka.bootstrap
    assert {"0.0.0.0"} == {settings.api.host, settings.health.host, settings.flagd.host}


def test_the_image_listens_where_it_says():
    """
    EXPOSE, the health check and the published ports are those of the settings.
    """
    settings = load_settings(ROOT / "config" / "guardian.yaml", {})
    ports = {settings.api.port, settings.health.port, settings.flagd.port}

    assert ports == {int(port) for port in re.findall(r"^EXPOSE (.+)", DOCKERFILE, re.MULTILINE)[0].split()}
    assert f"http://127.0.0.1:{settings.health.port}/healthz" in DOCKERFILE
    published = [port.split(":") for port in COMPOSE["services"]["guardian"]["ports"]]
    assert {("127.0.0.1", str(port), str(port)) for port in ports} == {tuple(port) for port in published}


def test_the_image_is_run_without_rights():
    """
    The last USER of the image is no root, and the compose file takes every capability away.
    """
    assert ["10001:10001"] == re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    for name in OURS:
        service = COMPOSE["services"][name]
        assert (["ALL"], True) == (service["cap_drop"], service["read_only"])


def test_the_image_holds_locked_packages_only():
    """
    Every `pip install` of the image checks hashes, or installs the project itself without its dependencies.
    """
    installs = re.findall(r"pip install ([^\n\\]+)", DOCKERFILE)

    assert 2 == len(installs)
    assert "--require-hashes --only-binary :all: -r requirements-run.lock" == installs[0]
    assert "--no-deps --no-build-isolation ." == installs[1].strip()


def test_what_is_copied_and_mounted_is_there():
    """
    Each file that the image copies is in the tree and not ignored; each that the compose file mounts is in the tree.
    """
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    mounted = [volume.split(":")[0] for name in OURS for volume in COMPOSE["services"][name].get("volumes", [])]

    assert [] == [source for source in (*copied, *mounted) if not (ROOT / source).exists()]
    assert [] == [source for source in copied if source.split("/")[0] not in allowed]


def test_what_runs_can_be_run():
    """
    The modules that services start are there, as are the services that they wait for.
    """
    for name in OURS:
        service = COMPOSE["services"][name]
        if "entrypoint" in service:
            module = service["entrypoint"][-1].replace(".", "/")
            assert (ROOT / f"{module}.py").is_file()
        assert set(service["depends_on"]) <= set(COMPOSE["services"])


def test_compose_reads_its_file():
    """
    Docker's own client takes the compose file, with all profiles.
    """
    command = ["docker", "compose", "--profile", "*", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    try:
        there = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        there = False
    if not there:
        pytest.skip("NOT checked by docker compose, which is not on this machine; the image was not built either")

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (0, "") == (done.returncode, done.stderr)
