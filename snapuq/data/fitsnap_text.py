"""The text of a FitSNAP input file: sections and keys with line numbers, checked before FitSNAP sees them."""

from __future__ import annotations

import configparser
import difflib
import re
from pathlib import Path

from snapuq.errors import InputError, nearest

REQUIRED = ("BISPECTRUM", "CALCULATOR", "SCRAPER", "PATH", "REFERENCE", "GROUPS")
_GROUP_TYPES = {"str": str, "bool": bool, "int": int, "float": float}
# FitSNAP's own defaults for the columns of a group line.
_COLUMNS = "name size eweight fweight vweight"
_COLUMN_TYPES = "str float float float float"


class InputText:
    """Sections and keys of a FitSNAP input, and where they stand.

    Parameters
    ----------
    path : Path
        The ``.in`` file.

    Raises
    ------
    InputError
        When the text is not that of an input file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        parser = configparser.ConfigParser(inline_comment_prefixes="#")
        parser.optionxform = str  # type: ignore[assignment, method-assign]  # the documented way to keep case
        try:
            self.lines = path.read_text(encoding="utf-8").splitlines()
            parser.read_string("\n".join(self.lines))
            self.sections = {name: dict(parser.items(name)) for name in parser.sections()}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", file=path) from None
        except configparser.Error as error:
            raise _syntax_error(path, error) from None

    def error(self, problem: str, section: str, key: str = "", **details: str | None) -> InputError:
        """Describe what is wrong with a section or a key.

        Parameters
        ----------
        problem : str
            What is wrong.
        section : str
            The section.
        key : str
            The key; empty for the section itself.
        **details : str or None
            ``found``, ``expected`` and ``hint`` of `InputError`.

        Returns
        -------
        InputError
            With file, line, section and key.
        """
        where = f"[{section}] {key}".strip()
        return InputError(problem, file=self.path, line=self._line(section, key), key=where, **details)

    def get(self, section: str, key: str, default: str = "") -> str:
        """Value of a key.

        Parameters
        ----------
        section, key : str
            Which.
        default : str
            Where it is missing.

        Returns
        -------
        str
            The text after the equals sign.
        """
        return self.sections.get(section, {}).get(key, default)

    def _line(self, section: str, key: str) -> int | None:
        inside = False
        for number, line in enumerate(self.lines, start=1):
            header = re.match(r"\s*\[([^\]]+)\]", line)
            if header:
                inside = header[1] == section
                if inside and not key:
                    return number
            elif inside and key and re.match(rf"\s*{re.escape(key)}\s*[=:]", line):
                return number
        return None

    def check_sections(self, known: set[str]) -> None:
        """Check that sections are known, and those that a fit needs present.

        Parameters
        ----------
        known : set of str
            FitSNAP's sections.

        Raises
        ------
        InputError
            For the first that is not.
        """
        for name in self.sections:
            if name not in known:
                raise self.error("unknown section", name, hint=nearest(name, known))
        for name in REQUIRED:
            if name not in self.sections:
                raise InputError("missing section", file=self.path, key=f"[{name}]")

    def check_keys(self, section: str, allowed: list[str], prefix: str = "") -> None:
        """Check that the keys of a section are known.

        Parameters
        ----------
        section : str
            The section.
        allowed : list of str
            Its keys.
        prefix : str
            Keys that start with it are known too.

        Raises
        ------
        InputError
            For the first that is not, naming the nearest.
        """
        for key in self.sections.get(section, {}):
            if key not in allowed and not (prefix and key.startswith(prefix)):
                raise self.error("unknown key", section, key, hint=nearest(key, allowed))

    def check_groups(self, settings: list[str], base: Path) -> list[str]:
        """Check the table of groups, in the input or in its ``groupFile``.

        Parameters
        ----------
        settings : list of str
            Keys of ``[GROUPS]`` that are no groups.
        base : Path
            Folder that a ``groupFile`` is relative to.

        Returns
        -------
        list of str
            Names of the groups.

        Raises
        ------
        InputError
            When a line has a wrong number of columns, or a value of the wrong type.
        """
        columns = self.get("GROUPS", "group_sections", _COLUMNS).split()
        types = self.get("GROUPS", "group_types", _COLUMN_TYPES).split()
        wrong = [t for t in types if t not in _GROUP_TYPES]
        if wrong:
            raise self.error(
                "unknown type", "GROUPS", "group_types", found=wrong[0], expected="str, int, float, bool"
            )
        if len(types) != len(columns):
            raise self.error(
                "wrong number of types",
                "GROUPS",
                "group_types",
                found=str(len(types)),
                expected=f"{len(columns)}, one for each of group_sections",
            )
        if "size" not in columns and "training_size" not in columns:
            raise self.error(
                "no column says how many to train on", "GROUPS", "group_sections", hint="add training_size"
            )
        table = self._group_lines(settings, base)
        for name, cells, where in table:
            if len(cells) != len(columns) - 1:
                problem = "wrong number of columns"
                close = difflib.get_close_matches(name, settings, n=1, cutoff=0.8)
                raise InputError(
                    problem,
                    file=where[0],
                    line=where[1],
                    key=f"[GROUPS] {name}",
                    found=str(len(cells)),
                    expected=f"{len(columns) - 1} ({' '.join(columns[1:])})",
                    hint=f"did you mean '{close[0]}'?" if close else None,
                )
            for column, kind, cell in zip(columns[1:], types[1:], cells, strict=True):
                try:
                    _GROUP_TYPES[kind](cell)
                except ValueError:
                    key = f"[GROUPS] {name}.{column}"
                    raise InputError(
                        "wrong type", file=where[0], line=where[1], key=key, found=cell, expected=f"a {kind}"
                    ) from None
        if not table:
            raise self.error("no group", "GROUPS", expected="one line for each sub-folder of dataPath")
        return [name for name, _, _ in table]

    def _group_lines(
        self, settings: list[str], base: Path
    ) -> list[tuple[str, list[str], tuple[Path, int | None]]]:
        group_file = self.get("PATH", "groupFile", "None")
        if group_file == "None":
            groups = {k: v for k, v in self.sections["GROUPS"].items() if k not in settings}
            return [(k, v.split(), (self.path, self._line("GROUPS", k))) for k, v in groups.items()]
        file = base / group_file
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"cannot be read: {error}", "PATH", "groupFile", found=str(file)) from None
        rows = [(line.partition("#")[0].split(), number) for number, line in enumerate(lines, start=1)]
        return [(words[0], words[1:], (file, number)) for words, number in rows if words]


def _syntax_error(path: Path, error: configparser.Error) -> InputError:
    if isinstance(error, configparser.DuplicateOptionError):
        key = f"[{error.section}] {error.option}"
        return InputError("key occurs twice", file=path, line=error.lineno, key=key)
    if isinstance(error, configparser.DuplicateSectionError):
        return InputError("section occurs twice", file=path, line=error.lineno, key=f"[{error.section}]")
    line = getattr(error, "lineno", None)
    listed = getattr(error, "errors", None)
    if listed:
        line = listed[0][0]
    return InputError("not a FitSNAP input", file=path, line=line, found=error.message.splitlines()[0])
