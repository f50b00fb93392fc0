"""Environment to frozen dataclass."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from services.chassis import config
from services.chassis.config import ConfigError, group, load, setting


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Shared:
    port: int = setting("PERPMESH_PORT", "The port to listen on.", default=0, minimum=0, maximum=65535)


@dataclass(frozen=True, kw_only=True)
class Room:
    shared: Shared = group(Shared)
    url: str = setting("PERPMESH_URL", "Where the database is.", secret=True)
    rate: float = setting("PERPMESH_RATE", "Calls a second.", default=2.0, minimum=0)
    wild: bool = setting("PERPMESH_WILD", "Whether to be wild.", default=False)
    venues: tuple[str, ...] = setting("PERPMESH_VENUES", "Which.", default=("a",), choices=("a", "b"))
    color: Color = setting("PERPMESH_COLOR", "Which color.", default=Color.RED)
    folder: Path | None = setting("PERPMESH_FOLDER", "Where to write.", default=None)


GOOD = {"PERPMESH_URL": "postgresql://u:s3cret@h/d", "HOME": "/root"}


def refusal(changes: dict[str, str], *, known: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Room, {**GOOD, **changes}, known=known)
    return str(caught.value)


def test_defaults_are_taken_and_values_get_their_types() -> None:
    assert load(Room, GOOD).shared.port == 0
    read = load(
        Room,
        {
            **GOOD,
            "PERPMESH_PORT": "81",
            "PERPMESH_RATE": "0.5",
            "PERPMESH_WILD": "Yes",
            "PERPMESH_VENUES": "a, b",
            "PERPMESH_COLOR": "blue",
            "PERPMESH_FOLDER": "/tmp/x",
        },
    )
    assert (read.shared.port, read.rate, read.wild) == (81, 0.5, True)
    assert (read.venues, read.color, read.folder) == (("a", "b"), Color.BLUE, Path("/tmp/x"))
    with pytest.raises(FrozenInstanceError):
        read.rate = 1.0  # type: ignore[misc]


def test_an_empty_variable_counts_as_absent() -> None:
    assert load(Room, {**GOOD, "PERPMESH_PORT": ""}).shared.port == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PERPMESH_PORT", "http", "PERPMESH_PORT must be a whole number from 0 to 65535, not 'http'"),
        ("PERPMESH_PORT", "65536", "from 0 to 65535"),
        ("PERPMESH_PORT", "1_0", "a whole number"),
        ("PERPMESH_RATE", "nan", "a number of at least 0"),
        ("PERPMESH_RATE", "inf", "a number of at least 0"),
        ("PERPMESH_WILD", "maybe", "true or false"),
        ("PERPMESH_VENUES", "a,z", "one of a, b"),
        ("PERPMESH_COLOR", "green", "one of red, blue"),
        ("PERPMESH_PROT", "1", "PERPMESH_PROT is not a setting; did you mean PERPMESH_PORT?"),
        ("PERPMESH_ZZZZZZZZ", "1", "see .env.example"),
    ],
)
def test_a_wrong_variable_is_one_sentence_that_says_what_to_do(name: str, text: str, says: str) -> None:
    message = refusal({name: text})
    assert says in message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_missing_required_variable_is_named_with_its_help() -> None:
    with pytest.raises(ConfigError, match="Set PERPMESH_URL or PERPMESH_URL_FILE: Where the database is"):
        load(Room, {}, known=())


def test_variables_of_other_rooms_may_be_present() -> None:
    with_another = load(Room, {**GOOD, "PERPMESH_OTHER": "1"}, known=("PERPMESH_OTHER",))
    assert with_another == load(Room, GOOD, known=())


def test_a_secret_never_shows_in_repr_nor_in_a_refusal() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Keyed:
        key: int = setting("PERPMESH_KEY", "A key.", secret=True)

    assert "s3cret" not in repr(load(Room, GOOD))
    with pytest.raises(ConfigError) as caught:
        load(Keyed, {"PERPMESH_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_secret_comes_from_a_file_and_only_a_secret_does(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("from-file\n")
    assert load(Room, {"PERPMESH_URL_FILE": str(file)}).url == "from-file"
    assert "not both" in refusal({"PERPMESH_URL_FILE": str(file)})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Room, {"PERPMESH_URL_FILE": str(tmp_path / "none")})
    file.write_bytes(b"x" * (config.SECRET_FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="more than 65536 bytes"):
        load(Room, {"PERPMESH_URL_FILE": str(file)})
    assert "not a setting" in refusal({"PERPMESH_PORT_FILE": str(file)})


def test_every_setting_is_listed_for_the_reference_and_the_example_is_loadable() -> None:
    names = [about.name for about in config.settings_of(Room)]
    assert names[:2] == ["PERPMESH_PORT", "PERPMESH_URL"]
    assert len(names) == 7
    text = config.render_env_example([Room, Shared])
    assert text.count("# PERPMESH_PORT=") == 1
    assert "# PERPMESH_COLOR=red" in text
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# PERPMESH_")]
    load(Room, {**dict(line.split("=", 1) for line in lines), **GOOD}, known=())


def test_a_class_may_check_its_fields_against_each_other() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Pair:
        low: int = setting("PERPMESH_LOW", "Low.", default=1)

        def __post_init__(self) -> None:
            if self.low > 1:
                raise ValueError("PERPMESH_LOW must be at most 1: lower it.")

    with pytest.raises(ConfigError, match="PERPMESH_LOW must be at most 1"):
        load(Pair, {"PERPMESH_LOW": "2"})
