"""A wrong setting is one sentence; the state folder is found or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.chassis.config import ConfigError
from services.launcher.config import CHECKOUT, Config, Layout, passed_on, read


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(environ)
    sentence = str(raised.value)
    assert "\n" not in sentence
    return sentence


def test_every_default_is_safe() -> None:
    config = read({})
    assert (config.edge_host, config.edge_port, config.admin_port) == ("127.0.0.1", 8080, 9901)
    assert config.venues == "simulated"
    assert config.cors_origins == ()
    assert Layout.at(config).state == CHECKOUT / "var"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PERPMESH_EDGE_PORT", "eighty", "from 0 to 65535"),
        ("PERPMESH_EDGE_PORT", "70000", "from 0 to 65535"),
        ("PERPMESH_VENUES", "mainet", "simulated, mainnet, testnet"),
        ("PERPMESH_LIGHTER_URL", "mainnet.example", "http:// or https://"),
        ("PERPMESH_IP_REQUESTS_PER_S", "0", "from 1 to"),
        ("PERPMESH_EDGE_PROT", "8080", "PERPMESH_EDGE_PORT"),
        ("PERPMESH_ADMIN_PORT", "8080", "different ports"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_pass(name: str, value: str, said: str) -> None:
    sentence = refused(**{name: value})
    assert name in sentence
    assert said in sentence


def test_rooms_get_everything_but_the_launchers_own_settings() -> None:
    environ = {"PATH": "/bin", "PERPMESH_EDGE_PORT": "1", "PERPMESH_FIXTURES": "x", "PERPMESH_SIMULATOR_SEED": "7"}
    assert passed_on(environ) == {"PATH": "/bin", "PERPMESH_SIMULATOR_SEED": "7"}


def test_sockets_move_to_a_short_path_when_the_state_folder_is_deep() -> None:
    layout = Layout.at(Config(state_dir=Path("/" + "deep/" * 30)))
    assert len(str(layout.sockets)) < 60
    assert layout.sockets != Layout.at(Config(state_dir=Path("/" + "deep/" * 31))).sockets


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="PERPMESH_STATE_DIR"):
        Layout.at(Config(state_dir=tmp_path / "file" / "var")).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_sockets_in_a_folder_of_someone_else_are_refused(tmp_path: Path) -> None:
    layout = Layout(state=tmp_path / "state", sockets=tmp_path / "run")
    layout.prepare()
    os.chown(layout.sockets, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to someone else"):
        layout.prepare()
