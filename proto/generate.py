"""Writes the Python code of the contract into ``proto/gen``; with ``--check``, says if it is up to date.

Needs the development extras (``grpcio-tools``, ``mypy-protobuf``) and nothing else: every import is under
``proto/third_party``. Why ``buf/validate/validate.proto`` becomes a private module is told in
``docs/adr/0002-rules-in-the-contract.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
THIRD_PARTY = PROTO / "third_party"
GENERATED = PROTO / "gen"

RULES = "buf/validate/validate.proto"
RULES_IMPORT = "from buf.validate import validate_pb2 as buf_dot_validate_dot_validate__pb2\n"
RULES_MODULE = "onefold/v1/_buf/validate_pb2.py"
PRIVATE_RULES_IMPORT = """\
try:  # a process that has this module must not load a second copy
  from buf.validate import validate_pb2 as buf_dot_validate_dot_validate__pb2
except ImportError:
  from onefold.v1._buf import validate_pb2 as buf_dot_validate_dot_validate__pb2
"""


def generate() -> Mapping[str, str]:
    """The generated files, by their path below ``proto/gen``."""
    contract = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.glob("onefold/**/*.proto"))
    services = [name for name in contract if name.endswith("_service.proto")]
    with tempfile.TemporaryDirectory() as folder:
        _protoc("--python_out=", folder, [*contract, RULES])
        _protoc("--mypy_out=quiet", folder, contract)
        _protoc("--grpc_python_out=", folder, services)
        _protoc("--mypy_grpc_out=quiet", folder, services)
        out = Path(folder)
        files = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.py*")}
    files[RULES_MODULE] = files.pop(RULES.removesuffix(".proto") + "_pb2.py")
    return {name: text.replace(RULES_IMPORT, PRIVATE_RULES_IMPORT) for name, text in sorted(files.items())}


def _protoc(option: str, folder: str, names: list[str]) -> None:
    # protoc looks for its plugins beside this interpreter, whether or not its environment is active.
    plugins = [
        f"--plugin=protoc-gen-{plugin}={Path(sys.executable).parent / f'protoc-gen-{plugin}'}"
        for plugin in ("mypy", "mypy_grpc")
    ]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    paths = [f"-I{PROTO}", f"-I{THIRD_PARTY}", f"-I{well_known}"]
    if protoc.main(["protoc", *plugins, *paths, f"{option}:{folder}", *names]):
        raise SystemExit(f"protoc failed with {option}")


def committed() -> Mapping[str, str]:
    """The generated files as they are in ``proto/gen``, by their path below it."""
    return {
        path.relative_to(GENERATED).as_posix(): path.read_text()
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
        for path in GENERATED.rglob(pattern)
    }


def write(files: Mapping[str, str]) -> None:
    """Makes ``proto/gen`` hold these generated files and no others."""
    for name in committed().keys() - files.keys():
        (GENERATED / name).unlink()
    for name, text in files.items():
        (GENERATED / name).parent.mkdir(parents=True, exist_ok=True)
        (GENERATED / name).write_text(text)


def main() -> int:
    """Generates, or checks; the exit code is 1 when the committed code is out of date."""
    parser = argparse.ArgumentParser(description="Write the Python code of the contract.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is out of date")
    files = generate()
    if not parser.parse_args().check:
        write(files)
        return 0
    present = committed()
    stale = sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))
    for name in stale:
        print(f"proto/gen/{name} is out of date: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
