"""Unleash and its PostgreSQL as processes of a test process, which they do not outlive."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from demo.ports import free_ports
from tests.kafka.server import dies_with
from tests.support.stores.unleash.installed import installed, node, postgres, server

ADMIN = "*:*.tests0admin0tests0admin0tests0admin"
SDK = {"production": "*:production.tests0sdk0production", "development": "*:development.tests0sdk0development"}
READY_S = 90.0
_NOBODY = 65534
"""PostgreSQL does not run as root."""


@functools.cache
def address() -> str:
    """Where the Unleash of this test process answers; the first call starts it, and it ends with the process."""
    workdir = Path(tempfile.mkdtemp(prefix="guardian-unleash-"))
    processes: list[subprocess.Popen[bytes]] = []

    def end() -> None:
        for process in reversed(processes):
            process.kill()
            process.wait()
        shutil.rmtree(workdir, ignore_errors=True)

    atexit.register(end)
    database_port, port = free_ports(2)
    processes.append(_database(workdir, database_port))
    processes.append(_unleash(workdir, database_port, port))
    _wait(processes, workdir, port)
    _hook(port)
    # It remembers for a minute which webhooks there were at its first event, and has had some.
    first = processes.pop()
    first.kill()
    first.wait()
    processes.append(_unleash(workdir, database_port, port))
    _wait(processes, workdir, port)
    return f"http://127.0.0.1:{port}"


@functools.cache
def hook_port() -> int:
    """The port at which Unleash's webhook calls the store ``web``, whether anybody listens there or not."""
    (port,) = free_ports(1)
    return port


def _hook(port: int) -> None:
    """Make the webhook."""
    given = {
        "provider": "webhook", "enabled": True, "description": "guardian", "projects": [], "environments": [],
        "events": ["feature-strategy-update"], "parameters": {"url": f"http://127.0.0.1:{hook_port()}/hooks/web"},
    }  # fmt: skip
    headers = {"authorization": ADMIN, "content-type": "application/json"}
    with urlopen(Request(f"http://127.0.0.1:{port}/api/admin/addons", json.dumps(given).encode(), headers), timeout=30.0):
        pass


def _database(workdir: Path, port: int) -> subprocess.Popen[bytes]:
    programs, tied = postgres(), dies_with(os.getpid())
    if os.geteuid() == 0:
        # Others may not look into root's folders, so PostgreSQL is where they can.
        workdir.chmod(0o755)
        programs = shutil.copytree(programs, workdir / "native", symlinks=True)
        (workdir / "data").mkdir()
        os.chown(workdir / "data", _NOBODY, _NOBODY)
        tied = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig", "KILL"]
    data = ["-D", str(workdir / "data")]
    options = [*data, "-U", "unleash", "-A", "trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
    made = subprocess.run([*tied, str(programs / "bin" / "initdb"), *options], capture_output=True, text=True, timeout=READY_S)
    if made.returncode:
        raise RuntimeError(f"PostgreSQL's folder could not be made:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
    given = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "synchronous_commit": "off"}
    words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    command = [*tied, str(programs / "bin" / "postgres"), *data, "-p", str(port), *words]
    with (workdir / "postgres.log").open("wb") as log:
        return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _unleash(workdir: Path, database_port: int, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "DATABASE_URL": f"postgres://unleash:unleash@127.0.0.1:{database_port}/postgres",
        "DATABASE_SSL": "false",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "LOG_LEVEL": "warn",
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
        "INIT_ADMIN_API_TOKENS": ADMIN,
        "INIT_BACKEND_API_TOKENS": ",".join(SDK.values()),
        "UNLEASH_DEFAULT_ADMIN_PASSWORD": "not-a-secret-4-tests",
        "UNLEASH_ALLOW_PRIVATE_URL_IN_INTEGRATION": "true",
        "NODE_COMPILE_CACHE": str(installed() / "compiled"),
    }
    # It ends where its database does not answer yet.
    again = 'until (exec 3<>/dev/tcp/127.0.0.1/$0) 2>/dev/null; do sleep 0.02; done; exec "$@"'
    command = [*dies_with(os.getpid()), "bash", "-c", again, str(database_port), str(node()), str(server())]
    with (workdir / "unleash.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _wait(processes: list[subprocess.Popen[bytes]], workdir: Path, port: int) -> None:
    deadline_s = time.monotonic() + READY_S
    while not _answers(port):
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline_s:
            said = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(workdir.glob("*.log")))
            raise RuntimeError(f"Unleash does not start:\n{said}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2.0):
            return True
    except (URLError, OSError):
        return False
