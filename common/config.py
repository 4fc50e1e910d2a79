"""Where settings come from: a TOML file, then the environment, then flags; what comes later goes before.

A component's settings are one frozen dataclass, which checks itself once, at start. Each class is a section: a table
of that name in the file, ``SHERD_<SECTION>_<FIELD>`` in the environment, ``--<field>`` on the command line. A name
that is not known is an error that says which one is meant, so that a typing error cannot pass for a default.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from sherd.common.errors import ConfigError
from sherd.common.setting import Setting, settings_of

C = TypeVar("C")


class Sources:
    """The settings that one process was given, not yet checked against their classes.

    ``sections``: the config class of each section this process knows. ``flags``: text by (section, field). Raises
    ConfigError at once for a name in the file or the environment that no section has.
    """

    def __init__(
        self,
        sections: Mapping[str, type],
        *,
        file: str | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self._settings = {name: settings_of(name, config) for name, config in sections.items()}
        self._file = file or ""
        self._from_file = read_config_file(file) if file else {}
        self._environ = os.environ if environ is None else environ
        self._flags = flags or {}
        self._check_file()
        self._check_environ()

    def load(self, section: str, config: type[C], **given: Any) -> C:
        """The section's config. ``given`` are fields the caller sets itself. ConfigError names the culprit."""
        values = dict(given)
        for setting in self._settings[section]:
            if setting.name in given:
                continue
            found = self._find(setting)
            if found is None:
                if setting.required:
                    raise ConfigError(f"{setting.flag} is needed")
                continue
            place, raw = found
            try:
                values[setting.name] = setting.parse(raw)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
        return config(**values)

    def _find(self, setting: Setting) -> tuple[str, object] | None:
        """Where the setting was given last, and what."""
        flag = self._flags.get((setting.section, setting.name))
        if flag is not None:
            return setting.flag, flag
        if setting.plumbing:
            return None
        variable = self._environ.get(setting.variable)
        if variable is not None:
            return setting.variable, variable
        table = self._from_file.get(setting.section, {})
        if setting.name in table:
            return f"{self._file}: {setting.section}.{setting.name}", table[setting.name]
        return None

    def _check_file(self) -> None:
        for section, table in self._from_file.items():
            if section not in self._settings:
                raise ConfigError(f"{self._file}: unknown section [{section}]{nearest(section, self._settings)}")
            if not isinstance(table, dict):
                raise ConfigError(f"{self._file}: {section} must be a table: [{section}]")
            names = [setting.name for setting in self._settings[section] if not setting.plumbing]
            for name in table:
                if name not in names:
                    raise ConfigError(f"{self._file}: unknown setting {section}.{name}{nearest(name, names)}")

    def _check_environ(self) -> None:
        known = [setting.variable for settings in self._settings.values() for setting in settings]
        for section in self._settings:
            prefix = f"SHERD_{section}_".upper()
            for variable in self._environ:
                if variable.startswith(prefix) and variable not in known:
                    raise ConfigError(f"unknown setting {variable} in the environment{nearest(variable, known)}")


def read_config_file(path: str) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError if it cannot be read or is not TOML."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` for the known name most like ``name``, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def changed_flags(section: str, config: object) -> list[str]:
    """The flags that give another process of the same version this config: those that differ from the defaults."""
    flags: list[str] = []
    for setting in settings_of(section, type(config)):
        value = getattr(config, setting.name)
        if value is not None and value != setting.default:
            flags.append(f"{setting.flag}={setting.to_text(value)}")
    return flags


def without_settings(environ: Mapping[str, str], sections: Iterable[str]) -> dict[str, str]:
    """The environment for a child that gets its settings by flags alone."""
    prefixes = tuple(f"SHERD_{section}_".upper() for section in sections)
    return {name: value for name, value in environ.items() if not name.startswith(prefixes)}
