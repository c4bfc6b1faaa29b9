"""
Regenerate the stubs of ``proto/sync.proto``: ``python -m streams.stores.flagd.generate``.

One line of the generated code is changed. protoc registers messages in the process-wide descriptor pool,
and the official OpenFeature provider registers the same names from a file of its own: whichever is imported
second fails ("duplicate symbol 'flagd.sync.v1.SyncFlagsRequest'"). A pool of our own lets both live in one
process, as they do in the demo and in the tests; what goes over the wire is the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[3]
PROTO = Path("streams/stores/flagd/proto/sync.proto")
_IMPORT = "from google.protobuf import struct_pb2 as google_dot_protobuf_dot_struct__pb2\n"
_SHARED = "DESCRIPTOR = _descriptor_pool.Default()."
_OWN = """
_pool = _descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(google_dot_protobuf_dot_struct__pb2.DESCRIPTOR.serialized_pb)
"""
_UNCHECKED = "# mypy: ignore-errors\n"


def compile_proto(*outputs: str) -> None:
    """
    Run protoc on the proto file with these output options.

    Raises:
        RuntimeError: protoc refused it; it has said why on stderr.
    """
    include = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{include}", *outputs, str(ROOT / PROTO)])
    if code != 0:
        raise RuntimeError(f"protoc ended with {code} on {PROTO}")


def with_own_pool(stub: str) -> str:
    """
    The generated message module, registering in a pool of its own.

    Raises:
        RuntimeError: the generator writes something else now, and this function must learn it.
    """
    if stub.count(_IMPORT) != 1 or stub.count(_SHARED) != 1:
        raise RuntimeError("protoc writes something else now: find where the descriptor pool is chosen")
    return stub.replace(_IMPORT, _IMPORT + _OWN).replace(_SHARED, "DESCRIPTOR = _pool.")


def main() -> int:
    """Write the three stub files beside the proto file."""
    compile_proto(f"--python_out={ROOT}", f"--pyi_out={ROOT}", f"--grpc_python_out={ROOT}")
    for name in ("sync_pb2.py", "sync_pb2.pyi", "sync_pb2_grpc.py"):
        path = (ROOT / PROTO).with_name(name)
        text = path.read_text(encoding="utf-8")
        stub = with_own_pool(text) if name == "sync_pb2.py" else text
        path.write_text(_UNCHECKED + stub, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
