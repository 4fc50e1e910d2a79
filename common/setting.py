"""One setting: a field of a component's frozen config dataclass, described once, beside the field.

The string under a field is its help. The unit follows from its name: ``memtable_bytes`` is a size and takes ``64MiB``,
``drain_s`` and ``stable_seconds`` are durations and take ``100ms``. A field's metadata may say more:

    durability  True: the setting decides what a crash may lose
    default     words for a default that the class can't tell
    plumbing    True: passed between processes; neither in files nor in the environment nor in the reference

A class whose fields say too little without their section's name puts one before its flags: ``FLAG_PREFIX = "etcd-"``.
"""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from sherd.common.errors import ConfigError
from sherd.common.units import exact_bytes, parse_bytes, parse_seconds

Unit = Literal["", "bytes", "bytes/s", "seconds"]

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a config dataclass, as files, environment and flags see it. ``section`` and ``name`` are unique."""

    section: str
    name: str
    kind: type
    choices: tuple[str, ...]
    default: object
    default_words: str
    required: bool
    help: str
    unit: Unit
    durability: bool
    plumbing: bool
    flag: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"SHERD_{self.section}_{self.name}".upper()

    def parse(self, raw: object) -> Any:
        """The value of ``raw``, which is text, or what TOML made of it. ConfigError if it is no such value."""
        if self.kind is tuple:
            return self._parse_list(raw)
        if isinstance(raw, str):
            return self._parse_text(raw)
        if self.kind is float and isinstance(raw, int) and not isinstance(raw, bool):
            return float(raw)
        if type(raw) is not self.kind:
            raise ConfigError(f"must be {_NAMES[self.kind]}, not {raw!r}")
        return raw

    def _parse_text(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            raise ConfigError(f"must be {' or '.join(self.choices)}, not {text!r}")
        if self.kind is bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ConfigError(f"must be true or false, not {text!r}")
            return text.lower() in _TRUE
        if self.kind is str:
            return text
        if self.unit.startswith("bytes"):
            return self.kind(parse_bytes(text))
        if self.unit == "seconds":
            return self.kind(parse_seconds(text))
        try:
            return self.kind(text)
        except ValueError:
            raise ConfigError(f"must be {_NAMES[self.kind]}, not {text!r}") from None

    @staticmethod
    def _parse_list(raw: object) -> tuple[str, ...]:
        if isinstance(raw, str):
            return tuple(part for part in raw.split(",") if part)
        if isinstance(raw, list) and all(isinstance(part, str) for part in raw):
            return tuple(raw)
        raise ConfigError(f"must be a list of strings, not {raw!r}")

    def to_text(self, value: object) -> str:
        """The text that ``parse`` reads as ``value``."""
        if isinstance(value, tuple):
            return ",".join(value)
        if isinstance(value, bool):
            return str(value).lower()
        if self.unit.startswith("bytes") and isinstance(value, (int, float)) and value == int(value):
            return exact_bytes(int(value))
        return str(value)

    @property
    def default_text(self) -> str:
        """The default for people; empty if there is none."""
        if self.default_words or self.required or self.default is None or self.default == ():
            return self.default_words
        return f"{self.default:g} s" if self.unit == "seconds" else self.to_text(self.default)


_NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def settings_of(section: str, config: type) -> tuple[Setting, ...]:
    """The settings of a config dataclass, in its order. Fields that hold a dataclass are sections of their own."""
    hints = typing.get_type_hints(config)
    docs = _field_docs(config)
    return tuple(
        _setting_of(section, field, hints[field.name], docs.get(field.name, ""), getattr(config, "FLAG_PREFIX", ""))
        for field in dataclasses.fields(config)
        if not dataclasses.is_dataclass(hints[field.name])
    )


def _setting_of(section: str, field: dataclasses.Field[Any], hint: object, doc: str, flag_prefix: str) -> Setting:
    kind, choices = _kind_of(hint)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    required = default is dataclasses.MISSING
    return Setting(
        section,
        field.name,
        kind,
        choices,
        None if required else default,
        field.metadata.get("default", ""),
        required,
        doc,
        _unit_of(field.name) if kind in (int, float) else "",
        field.metadata.get("durability", False),
        field.metadata.get("plumbing", False),
        f"--{flag_prefix}{field.name.replace('_', '-')}",
    )


def _kind_of(hint: object) -> tuple[type, tuple[str, ...]]:
    """The type that a setting's text is turned into, and the words it is limited to."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple, ()
    if isinstance(hint, type) and hint in (int, float, str, bool):
        return hint, ()
    raise TypeError(f"a setting can't be {hint!r}")


def _unit_of(name: str) -> Unit:
    parts = name.split("_")
    if "bytes" in parts:
        return "bytes/s" if parts[-2:] == ["per", "s"] else "bytes"
    return "seconds" if "s" in parts or "seconds" in parts else ""


def _field_docs(config: type) -> dict[str, str]:
    """The string under each field, on one line."""
    source = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    if not isinstance(source, ast.ClassDef):
        raise TypeError(f"{config!r} is no class with source")
    docs: dict[str, str] = {}
    for field, below in zip(source.body, source.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = " ".join(below.value.value.split())
    return docs
