"""Write `gen/` from `proto/`, or prove that it is fresh.

    python -m tools.gen                 regenerate gen/
    python -m tools.gen --check         regenerate into a temporary folder and print the drift; exit code 1 if any
    python -m tools.gen --typescript    the TypeScript part too (tools/gen_ts.py, needs Node)

What is written, all of it checked in:

* `gen/perpmesh`, `gen/buf`, `gen/envoyrls`: Python modules and typed stubs. `grpc_tools.protoc` with mypy-protobuf for
  every file of ours, for `buf/validate` and for what Envoy asks a rate limit service; the gRPC modules for
  `*_service.proto` only, since the plugin writes an empty module for any other file. `google/*` comes from the
  installed wheels and is never generated.
* `gen/perpmesh.binpb`: the descriptor set of the whole workspace, `google/rpc` included, because Envoy needs the types
  of error details. It carries no comments, which would make it five times as large; whoever needs comments (tests,
  the reference pages) calls `descriptor_set(with_comments=True)`.

The generated folders carry no `__init__.py`: `perpmesh` and `buf` are namespace packages under the import root `gen`,
as protoc's imports expect, so another distribution may add to them and two checkouts never disagree about an empty
file. mypy follows them through `namespace_packages` and `mypy_path = ["gen"]`.

The output is a function of `proto/` and the pinned tools: a second run is byte-identical. A failed run changes nothing.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
VENDOR = PROTO / "vendor"
GEN = ROOT / "gen"
PYTHON_TREES = ("perpmesh", "buf", "envoyrls")
DESCRIPTOR_SET = "perpmesh.binpb"
TYPESCRIPT_TREE = "ts"
STEP_TIMEOUT_S = 120


class GenError(Exception):
    """A step of the generation failed; the message is what the tool printed."""


def _run(command: Sequence[str]) -> bytes:
    """Run one tool from the repository root and return what it wrote to standard output."""
    scripts = sysconfig.get_path("scripts")
    environ = dict(os.environ, PATH=f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False, timeout=STEP_TIMEOUT_S)
    if done.returncode != 0:
        raise GenError(f"{' '.join(command[:4])} failed:\n{done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _proto_files() -> list[str]:
    """Return the files to generate, relative to their import root, in a fixed order."""
    ours = [path.relative_to(PROTO) for path in (PROTO / "perpmesh").rglob("*.proto")]
    others = [path.relative_to(VENDOR) for tree in PYTHON_TREES[1:] for path in (VENDOR / tree).rglob("*.proto")]
    return sorted(path.as_posix() for path in [*ours, *others])


def generate_python(out: Path) -> None:
    """Write the Python modules and typed stubs below `out`."""
    files = _proto_files()
    services = [name for name in files if name.endswith("_service.proto")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{VENDOR}"]
    _run([*protoc, f"--python_out={out}", f"--mypy_out=quiet:{out}", *files])
    if services:
        _run([*protoc, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services])


def descriptor_set(*, with_comments: bool = False) -> descriptor_pb2.FileDescriptorSet:
    """Build the descriptor set of the whole workspace, with the comments of the contract if asked."""
    command = ["buf", "build", "--as-file-descriptor-set", "-o", "-"]
    if not with_comments:
        command.append("--exclude-source-info")
    return descriptor_pb2.FileDescriptorSet.FromString(_run(command))


def generate_descriptors(out: Path) -> None:
    """Write the descriptor set that Envoy, reflection and tests read, files in a fixed order."""
    built = descriptor_set()
    (out / DESCRIPTOR_SET).write_bytes(built.SerializeToString(deterministic=True))


def generate_typescript(out: Path) -> None:
    """Write `ts/` below `out` through `tools.gen_ts.generate_typescript(out: Path) -> None`."""
    if importlib.util.find_spec("tools.gen_ts") is None:
        raise GenError("tools/gen_ts.py does not exist yet, so there is no TypeScript to generate: drop --typescript.")
    module = importlib.import_module("tools.gen_ts")
    module.generate_typescript(out)


def generate(out: Path, *, typescript: bool) -> None:
    """Write everything below the empty folder `out`."""
    generate_python(out)
    generate_descriptors(out)
    if typescript:
        generate_typescript(out)


def _owned(root: Path, *, typescript: bool) -> Iterator[str]:
    """Yield the generated files below `root`, relative to it, leaving out what interpreters leave behind."""
    trees = (*PYTHON_TREES, TYPESCRIPT_TREE) if typescript else PYTHON_TREES
    for tree in trees:
        for path in sorted((root / tree).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix()
    if (root / DESCRIPTOR_SET).is_file():
        yield DESCRIPTOR_SET


def drift(fresh: Path, *, typescript: bool) -> list[str]:
    """Return one line per file that differs between `fresh` and `gen/`."""
    wanted = set(_owned(fresh, typescript=typescript))
    present = set(_owned(GEN, typescript=typescript))
    lines = [f"missing  gen/{name}" for name in wanted - present]
    lines += [f"stale    gen/{name}" for name in present - wanted]
    lines += [
        f"differs  gen/{name}" for name in wanted & present if not filecmp.cmp(fresh / name, GEN / name, shallow=False)
    ]
    return sorted(lines)


def _install(fresh: Path, *, typescript: bool) -> int:
    """Bring `gen/` to what is in `fresh`, file by file and each atomically; return how many files changed.

    Unchanged files keep their times, so that nobody who is importing them is disturbed.
    """
    changed = 0
    for line in drift(fresh, typescript=typescript):
        kind, name = line.split(maxsplit=1)
        target = ROOT / name
        changed += 1
        if kind == "stale":
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_bytes((fresh / name.removeprefix("gen/")).read_bytes())
        part.replace(target)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.gen", description="Write gen/ from proto/.")
    parser.add_argument("--check", action="store_true", help="change nothing; print what differs and exit 1 if any")
    parser.add_argument("--typescript", action="store_true", help="include gen/ts (needs Node)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="perpmesh-gen-") as folder:
        fresh = Path(folder)
        try:
            generate(fresh, typescript=options.typescript)
        except GenError as error:
            print(error, file=sys.stderr)
            return 1
        if not options.check:
            changed = _install(fresh, typescript=options.typescript)
            print(f"gen/ is fresh: {changed} file(s) changed.")
            return 0
        lines = drift(fresh, typescript=options.typescript)
    if lines:
        print("gen/ does not match proto/. Run `make gen` and commit the result:", *lines, sep="\n")
        return 1
    print("gen/ matches proto/.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
