"""`python -m tools.gen`: what it writes, that it is a function of its input, and that a failure changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from tools import gen

ROOT = Path(__file__).resolve().parents[3]
SMALL = """syntax = "proto3";

package perpmesh.small.v1;

// Says little.
service SmallService {
  // Says one thing.
  rpc Say(SayRequest) returns (SayResponse);
}

// Request for Say.
message SayRequest {}

// Response for Say.
message SayResponse {}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small copy of the repository: its settings, the vendored files and the shared words."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "proto" / "vendor", tmp_path / "proto" / "vendor")
    shutil.copytree(ROOT / "proto" / "perpmesh" / "type", tmp_path / "proto" / "perpmesh" / "type")
    service = tmp_path / "proto" / "perpmesh" / "small" / "v1" / "small_service.proto"
    service.parent.mkdir(parents=True)
    service.write_text(SMALL)
    for name, value in {
        "ROOT": tmp_path,
        "PROTO": tmp_path / "proto",
        "VENDOR": tmp_path / "proto" / "vendor",
        "GEN": tmp_path / "gen",
    }.items():
        monkeypatch.setattr(gen, name, value)
    return tmp_path


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_second_run_is_byte_identical_and_the_check_sees_every_kind_of_drift(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen.main(["--check"]) == 1
    assert "missing  gen/perpmesh.binpb" in capsys.readouterr().out
    assert gen.main([]) == 0
    first = tree(house / "gen")
    assert gen.main([]) == 0
    assert "0 file(s) changed" in capsys.readouterr().out
    assert tree(house / "gen") == first
    assert gen.main(["--check"]) == 0
    (house / "gen" / "perpmesh" / "old_pb2.py").write_text("")
    (house / "gen" / "perpmesh" / "type" / "v1" / "side_pb2.py").write_text("changed")
    capsys.readouterr()
    assert gen.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "stale    gen/perpmesh/old_pb2.py" in said
    assert "differs  gen/perpmesh/type/v1/side_pb2.py" in said
    assert gen.main([]) == 0
    assert tree(house / "gen") == first


def test_what_is_generated_and_what_is_not(house: Path) -> None:
    assert gen.main([]) == 0
    names = set(tree(house / "gen"))
    assert "perpmesh/small/v1/small_service_pb2_grpc.py" in names
    assert "perpmesh/small/v1/small_service_pb2_grpc.pyi" in names
    assert "perpmesh/type/v1/side_pb2.pyi" in names
    assert "buf/validate/validate_pb2.py" in names
    assert "perpmesh/type/v1/side_pb2_grpc.py" not in names
    assert not any(name.startswith("google/") or name.endswith("__init__.py") for name in names)
    descriptors = descriptor_pb2.FileDescriptorSet.FromString((house / "gen" / "perpmesh.binpb").read_bytes())
    files = {file.name for file in descriptors.file}
    assert {
        "google/rpc/status.proto",
        "google/rpc/error_details.proto",
        "perpmesh/small/v1/small_service.proto",
    } <= files
    assert not any(file.HasField("source_code_info") for file in descriptors.file)


def test_comments_can_be_had_when_they_are_needed(house: Path) -> None:
    descriptors = gen.descriptor_set(with_comments=True)
    (small,) = [file for file in descriptors.file if file.name.endswith("small_service.proto")]
    comments = {tuple(place.path): place.leading_comments for place in small.source_code_info.location}
    assert comments[(6, 0, 2, 0)].strip() == "Says one thing."


def test_a_broken_contract_changes_nothing_and_is_shown(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gen.main([]) == 0
    before = tree(house / "gen")
    service = house / "proto" / "perpmesh" / "small" / "v1" / "small_service.proto"
    service.write_text(service.read_text() + "message Broken { strin x = 1; }\n")
    assert gen.main([]) == 1
    assert "strin" in capsys.readouterr().err
    assert tree(house / "gen") == before


def test_typescript_is_left_to_its_own_module(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        @staticmethod
        def generate_typescript(out: Path) -> None:
            (out / "ts").mkdir()
            (out / "ts" / "small_pb.ts").write_text("export {};\n")

    monkeypatch.setattr(gen.importlib, "import_module", lambda _: Module)
    monkeypatch.setattr(gen.importlib.util, "find_spec", lambda _: object())
    assert gen.main(["--typescript"]) == 0
    assert (house / "gen" / "ts" / "small_pb.ts").read_text() == "export {};\n"
    assert gen.main([]) == 0
    assert (house / "gen" / "ts" / "small_pb.ts").exists()
