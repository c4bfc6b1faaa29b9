"""Importing is harmless: no module of ours, and none of what they import, speaks to anybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = """
import importlib, json, sys
said = []
sys.addaudithook(lambda event, _: said.append(event) if event in FORBIDDEN else None)
FORBIDDEN = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg", "urllib.Request"}
found = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    if said:
        found[name] = sorted(set(said))
        said.clear()
import socket
try:
    socket.create_connection(("127.0.0.1", 1), timeout=0.1)
except OSError:
    pass
print(json.dumps([found, sorted(set(said))]))
"""


def modules() -> list[str]:
    found = [path for package in ("guardian", "streams") for path in (ROOT / package).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]
    return sorted(name for name in names if not name.endswith("__main__"))


def test_no_module_speaks_to_anybody_when_it_is_imported():
    """
    Every module of ``guardian`` and ``streams`` is imported, with all that it imports: no connection is opened, no name
    is looked up, nothing is sent.
    """
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(modules())], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    found, seen = json.loads(done.stdout)

    assert len(modules()) > 200
    assert {} == found
    assert ["socket.connect", "socket.getaddrinfo"] == seen, "the hook sees what it is to see"
