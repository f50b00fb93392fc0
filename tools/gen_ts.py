"""Write what Node makes, or prove that it is fresh: `gen/ts` from `proto/`, and `clients/web/dist` from `clients/web`.

    python -m tools.gen_ts                regenerate gen/ts
    python -m tools.gen_ts --web          build the page into clients/web/dist
    python -m tools.gen_ts --check        print how gen/ts differs from proto/; exit code 1 if it does
    python -m tools.gen_ts --check-web    print how clients/web/dist differs from its sources; exit code 1 if it does
    python -m tools.gen_ts --test-web     check the page's types and run its unit tests

`gen/ts` holds TypeScript for every public message: the services that have a REST route, the frames of the WebSocket,
the reasons of errors and the details they carry, and all that these import. What only rooms say to each other is left
out. `clients/web/dist` is the page as the stream room serves it. Both are checked in, so running the mesh needs no
Node; whoever changes a contract or the page needs Node 20.19 or later with npm.

Both are a function of their sources and of `clients/web/package-lock.json`: a second run is byte-identical. The
packages are installed by `npm ci` when the lock changes; the lock names no registry, so whichever npm is configured
with serves them, and the lock's hashes decide.

Without Node, or with one too old, nothing is done: one sentence says so, and the exit code is `SKIPPED`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from google.api import annotations_pb2  # type: ignore[import-untyped, unused-ignore]
from google.protobuf import descriptor_pb2

from tools import gen

WEB = gen.ROOT / "clients" / "web"
DIST = WEB / "dist"
CACHE = WEB / ".cache"
MODULES = WEB / "node_modules"
SKIPPED = 77
"""The exit code that says: nothing was done, because there is no Node. The convention of automake's tests."""
NODE_MIN = (20, 19)
INSTALL_TIMEOUT_S = 300
BUILD_TIMEOUT_S = 180
ERROR_DETAILS = "google/rpc/error_details.proto"
PUBLIC_FILES = ("perpmesh/errors/v1/reason.proto", "perpmesh/stream/v1/frame.proto", ERROR_DETAILS)
"""What is public without being a service."""


class NodeMissing(gen.GenError):
    """There is no Node to do it with; the message is one sentence."""


def require_node() -> None:
    """Raise `NodeMissing` unless Node and npm are there and new enough."""
    need = f"Node {NODE_MIN[0]}.{NODE_MIN[1]} or later with npm"
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NodeMissing(f"Skipped: this needs {need}, which is not installed. Running the mesh does not need it.")
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False, timeout=30)
    found = re.match(r"v(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < NODE_MIN:
        raise NodeMissing(f"Skipped: this needs {need}; `node --version` says {done.stdout.strip() or 'nothing'}.")


@contextmanager
def _alone() -> Iterator[None]:
    """Keep others that install or build in `clients/web` waiting."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _node(command: Sequence[str], *, timeout_s: float) -> str:
    """Run a command in `clients/web` and return what it printed; raise `GenError` with it where it fails."""
    environ = dict(os.environ, PATH=f"{MODULES / '.bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    environ |= {"CI": "true", "NO_COLOR": "1", "npm_config_update_notifier": "false"}
    environ.pop("FORCE_COLOR", None)
    done = subprocess.run(command, cwd=WEB, env=environ, capture_output=True, text=True, check=False, timeout=timeout_s)
    said = f"{done.stdout}{done.stderr}".strip()
    if done.returncode != 0:
        raise gen.GenError(f"{' '.join(command)} failed in clients/web:\n{said}")
    return said


def install() -> None:
    """Install the locked packages into `clients/web/node_modules`, unless they are there already."""
    require_node()
    wanted = hashlib.sha256((WEB / "package.json").read_bytes() + (WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".perpmesh-lock"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    _node(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], timeout_s=INSTALL_TIMEOUT_S)
    stamp.write_text(wanted)


def public_files(descriptors: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Return the files to generate from, in a fixed order; what they import comes with them.

    A service file is public when a call of it has a REST route, as the tidy tests demand of every public call.
    """
    services = {
        file.name
        for file in descriptors.file
        if file.name.startswith("perpmesh/")
        and any(
            method.options.HasExtension(annotations_pb2.http) for service in file.service for method in service.method
        )
    }
    return sorted({*services, *PUBLIC_FILES})


def generate_typescript(out: Path) -> None:
    """Write `ts/` below `out`. Raises `NodeMissing` without Node, `GenError` where a tool fails."""
    with _alone():
        install()
    plugin = {
        "local": str(MODULES / ".bin" / "protoc-gen-es"),
        "out": str(out / gen.TYPESCRIPT_TREE),
        "include_imports": True,
        "opt": ["target=ts", "import_extension=js"],
    }
    template = {"version": "v2", "inputs": [{"directory": str(gen.ROOT)}], "plugins": [plugin]}
    paths: list[str] = []
    for name in public_files(gen.descriptor_set()):
        root = gen.VENDOR if name == ERROR_DETAILS else gen.PROTO
        paths += ["--path", str(root / name)]
    gen._run(["buf", "generate", "--template", json.dumps(template), *paths])


def build_page(out: Path) -> None:
    """Check the page's types and build it into the folder `out`."""
    with _alone():
        install()
        _node(["tsc", "--noEmit"], timeout_s=BUILD_TIMEOUT_S)
        _node(["vite", "build", "--outDir", str(out), "--emptyOutDir", "--logLevel", "warn"], timeout_s=BUILD_TIMEOUT_S)


def test_page() -> str:
    """Check the page's types, run its unit tests, and return what they printed."""
    with _alone():
        install()
        _node(["tsc", "--noEmit"], timeout_s=BUILD_TIMEOUT_S)
        return _node(["npm", "test", "--silent"], timeout_s=BUILD_TIMEOUT_S)


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def drift(fresh: Path, present: Path) -> list[str]:
    """Return one line per file that differs between two folders."""
    wanted, found = _files(fresh), _files(present)
    shown = present.relative_to(gen.ROOT).as_posix()
    lines = [f"missing  {shown}/{name}" for name in wanted.keys() - found.keys()]
    lines += [f"stale    {shown}/{name}" for name in found.keys() - wanted.keys()]
    lines += [f"differs  {shown}/{name}" for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
    return sorted(lines)


def _put(fresh: Path, present: Path) -> int:
    """Bring `present` to what is in `fresh`, changed files only; return how many there were."""
    lines = drift(fresh, present)
    for line in lines:
        kind, name = line.split(maxsplit=1)
        target = gen.ROOT / name
        if kind == "stale":
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_bytes((fresh / target.relative_to(present)).read_bytes())
        part.replace(target)
    for folder in sorted(present.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return len(lines)


def _settle(*, fresh: Path, present: Path, check: bool, verb: str) -> int:
    shown = present.relative_to(gen.ROOT).as_posix()
    if not check:
        print(f"{shown} is fresh: {_put(fresh, present)} file(s) changed.")
        return 0
    lines = drift(fresh, present)
    if lines:
        print(f"{shown} does not match its sources. Run `{verb}` and commit the result:", *lines, sep="\n")
        return 1
    print(f"{shown} matches its sources.")
    return 0


def _run(options: argparse.Namespace) -> Iterable[int]:
    with tempfile.TemporaryDirectory(prefix="perpmesh-node-") as folder:
        page = options.web or options.check_web
        if options.test_web:
            print(test_page())
            yield 0
        if options.check or not (page or options.test_web):
            generate_typescript(Path(folder))
            verb = "python -m tools.gen_ts"
            yield _settle(
                fresh=Path(folder, gen.TYPESCRIPT_TREE),
                present=gen.GEN / gen.TYPESCRIPT_TREE,
                check=options.check,
                verb=verb,
            )
        if page:
            fresh = Path(folder, "dist")
            build_page(fresh)
            yield _settle(fresh=fresh, present=DIST, check=options.check_web, verb="python -m tools.gen_ts --web")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for drift or a failure, `SKIPPED` without Node."""
    parser = argparse.ArgumentParser(prog="python -m tools.gen_ts", description="Write or check what Node makes.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if gen/ts differs")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--web", action="store_true", help="build the page into clients/web/dist")
    which.add_argument("--check-web", action="store_true", help="change nothing; exit 1 if the page differs")
    parser.add_argument("--test-web", action="store_true", help="check the page's types and run its unit tests")
    try:
        return max(_run(parser.parse_args(arguments)))
    except NodeMissing as missing:
        print(missing, file=sys.stderr)
        return SKIPPED
    except (gen.GenError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
