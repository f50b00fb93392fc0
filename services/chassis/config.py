"""Environment to frozen dataclass, with every mistake answered by one sentence.

A room's `config.py` is one frozen dataclass whose fields are made by `setting`; groups that several rooms share (the
server's, the database's) are dataclasses of their own, placed in a field made by `group`. `load` reads them:

    @dataclass(frozen=True, kw_only=True)
    class Config:
        server: ServerConfig = group(ServerConfig)
        venues: str = setting("PERPMESH_VENUES", "Which venues to use.", default="simulator", choices=("simulator",))

Rules: all names begin with `PERPMESH_`. A name that no setting of the house has is an error, since it is a
misspelling; what the house has is this class plus `services/settings.txt`, so that one environment may serve all rooms.
A secret may come from the file that `NAME_FILE` names, and never shows in `repr`. An empty variable counts as absent.
`settings_of` lists the settings for the reference page and `.env.example`.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "PERPMESH_"
FILE_SUFFIX = "_FILE"
HOUSE_NAMES_FILE = Path(__file__).resolve().parent.parent / "settings.txt"
SECRET_FILE_BYTES_MAX = 65_536

_KEY = "perpmesh"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

T = TypeVar("T")


class ConfigError(Exception):
    """The environment is wrong; the message is one sentence that says what to do."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of one setting."""

    name: str
    """The variable, such as `PERPMESH_LISTEN`."""
    help: str
    """What it does, its unit and what its absence means: whole sentences."""
    default: Any = None
    """The value when the variable is absent."""
    required: bool = False
    """Whether there is no default."""
    secret: bool = False
    """Whether the value is hidden and may come from `NAME_FILE`."""
    minimum: float | None = None
    """The least number that passes."""
    maximum: float | None = None
    """The greatest number that passes."""
    choices: tuple[str, ...] = ()
    """The texts that pass; empty for any."""
    kind: str = "text"
    """What the value is, in a word, for the reference page."""


def setting(
    name: str,
    help: str,  # noqa: A002 - the word that argparse and the reference page use
    *,
    default: Any = dataclasses.MISSING,
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field that is read from the variable `name`. Without a default it is required."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} must begin with {PREFIX}")
    required = default is dataclasses.MISSING
    about = Setting(
        name=name,
        help=help,
        default=None if required else default,
        required=required,
        secret=secret,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
    )
    if required:
        return dataclasses.field(repr=not secret, metadata={_KEY: about})
    return dataclasses.field(default=default, repr=not secret, metadata={_KEY: about})


def group(cls: type[Any], *, default: Any = dataclasses.MISSING) -> Any:
    """Declare a dataclass field that holds another configuration dataclass, read from the same environment.

    `default` is for code that makes the outer class by hand; the environment always gives the inner one its own.
    """
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={_KEY: cls})
    return dataclasses.field(default=default, metadata={_KEY: cls})


def settings_of(cls: type[Any]) -> tuple[Setting, ...]:
    """Return every setting of a configuration class, those of its groups included, in order of declaration."""
    return tuple(about for about, _ in _walk(cls))


def names_of(cls: type[Any]) -> frozenset[str]:
    """Return every variable that a configuration class understands, `NAME_FILE` of secrets included."""
    names = {about.name for about in settings_of(cls)}
    return frozenset(names | {about.name + FILE_SUFFIX for about in settings_of(cls) if about.secret})


def house_names() -> frozenset[str]:
    """Return the variables of all rooms from `services/settings.txt`; empty when the file is not there."""
    try:
        lines = HOUSE_NAMES_FILE.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return frozenset()
    return frozenset(line for line in lines if line.startswith(PREFIX))


def load(cls: type[T], environ: Mapping[str, str], *, known: Collection[str] | None = None) -> T:
    """Read a configuration, or raise `ConfigError` with one sentence that says what to do.

    `known` are variables of other rooms that may be present; by default those of the whole house.
    """
    mine = names_of(cls)
    others = house_names() if known is None else frozenset(known)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in mine and name not in others:
            raise ConfigError(_unknown(name, mine | others))
    return _build(cls, environ)


def render_env_example(classes: Collection[type[Any]]) -> str:
    """Return the text of `.env.example`: every setting once, commented out, with its help and default."""
    seen: dict[str, Setting] = {}
    for cls in classes:
        for about in settings_of(cls):
            seen.setdefault(about.name, about)
    blocks = []
    for about in sorted(seen.values(), key=lambda item: item.name):
        notes = [about.help, f"({describe(about)})"]
        value = "" if about.required or about.secret else show(about.default)
        blocks.append("".join(f"# {note}\n" for note in notes) + f"# {about.name}={value}\n")
    return "\n".join(blocks)


def describe(about: Setting) -> str:
    """Return what passes for a setting, as a phrase: `a whole number from 0 to 65535`."""
    if about.choices:
        return "one of " + ", ".join(about.choices)
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "texts split by commas"}
    phrase = words.get(about.kind, "a path" if about.kind == "Path" else "a text")
    if about.minimum is not None and about.maximum is not None:
        phrase += f" from {show(about.minimum)} to {show(about.maximum)}"
    elif about.minimum is not None:
        phrase += f" of at least {show(about.minimum)}"
    elif about.maximum is not None:
        phrase += f" of at most {show(about.maximum)}"
    return phrase


def show(value: object) -> str:
    """Return a value as it is written in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(show(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _walk(cls: type[Any]) -> Iterator[tuple[Setting, dataclasses.Field[Any]]]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        about = field.metadata.get(_KEY)
        if isinstance(about, Setting):
            base, _ = _unwrap(hints[field.name])
            choices = about.choices
            if isinstance(base, type) and issubclass(base, enum.Enum):
                choices = choices or tuple(str(member.value) for member in base)
            kind = getattr(typing.get_origin(base) or base, "__name__", "text")
            yield dataclasses.replace(about, kind=kind, choices=choices), field
        elif isinstance(about, type):
            yield from _walk(about)
        else:
            raise TypeError(f"{cls.__name__}.{field.name} is not made by setting() or group()")


def _build(cls: type[T], environ: Mapping[str, str]) -> T:
    hints = typing.get_type_hints(cls)
    mine = {about.name: about for about in settings_of(cls)}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        about = field.metadata[_KEY]
        if not isinstance(about, Setting):
            values[field.name] = _build(about, environ)
            continue
        about = mine[about.name]
        text = _text_of(about, environ)
        if text is None:
            if about.required:
                raise ConfigError(
                    f"Set {about.name}{' or ' + about.name + FILE_SUFFIX if about.secret else ''}: "
                    f"{about.help} It must be {describe(about)}."
                )
            continue
        values[field.name] = _parse(about, hints[field.name], text)
    try:
        return cls(**values)
    except ValueError as error:  # a class may check its fields against each other in __post_init__
        raise ConfigError(str(error)) from None


def _text_of(about: Setting, environ: Mapping[str, str]) -> str | None:
    text = environ.get(about.name) or None
    file = environ.get(about.name + FILE_SUFFIX) if about.secret else None
    if not file:
        return text
    if text is not None:
        raise ConfigError(f"Set {about.name} or {about.name}{FILE_SUFFIX}, not both.")
    try:
        with Path(file).open("rb") as opened:
            raw = opened.read(SECRET_FILE_BYTES_MAX + 1)
        if len(raw) > SECRET_FILE_BYTES_MAX:
            raise ConfigError(
                f"{about.name}{FILE_SUFFIX} names a file of more than {SECRET_FILE_BYTES_MAX} bytes; "
                "name the file that holds the secret alone."
            )
        return raw.decode().removesuffix("\n").removesuffix("\r") or None
    except OSError as error:
        raise ConfigError(
            f"{about.name}{FILE_SUFFIX} names {file!r}, which cannot be read ({error.strerror}); name a readable file."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{about.name}{FILE_SUFFIX} names {file!r}, which is not UTF-8 text.") from None


def _unwrap(hint: Any) -> tuple[Any, bool]:
    """Return the type inside `X | None`, and whether there was a None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [item for item in typing.get_args(hint) if item is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def _parse(about: Setting, hint: Any, text: str) -> Any:
    base, _ = _unwrap(hint)
    shown = "what was given" if about.secret else repr(text)
    refusal = ConfigError(f"{about.name} must be {describe(about)}, not {shown}: correct it or remove it.")
    if about.choices and text not in about.choices and typing.get_origin(base) is not tuple:
        raise refusal
    try:
        value = _convert(base, text)
    except ValueError:
        raise refusal from None
    if about.choices and isinstance(value, tuple) and not set(value) <= set(about.choices):
        raise refusal
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = about.minimum, about.maximum
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            raise refusal
    return value


def _convert(base: Any, text: str) -> Any:
    if base is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ValueError(text)
        return word in _TRUE
    if base in (int, float):
        if "_" in text or not text.isascii():  # which Python would take
            raise ValueError(text)
        return base(text)
    if base is Path:
        return Path(text).expanduser()
    if typing.get_origin(base) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(base, type) and issubclass(base, enum.Enum):
        return base(text)
    if base is str or typing.get_origin(base) is typing.Literal:
        return text
    raise TypeError(f"settings of type {base} are not supported")


def _unknown(name: str, valid: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}? Rename it" if near else "see .env.example for all names. Rename it"
    return f"{name} is not a setting; {hint} or remove it."
