"""FitSNAP 3.1.0.4 made quiet, serial, repeatable and free of side effects.

What is adapted, none of it in the installed files:

- the list of a group's files comes in natural order and holds ``.json`` files only (FitSNAP takes the order
  of `os.listdir`, which differs between machines, and counts stray files);
- ``random.shuffle(x, random)``, gone from Python 3.11, is done as Python 3.10 did it, with a generator of
  its own, so that a ``random_seed`` means the same split and the global state stays as it was;
- ``delim_whitespace``, gone from pandas 3, becomes the equivalent separator;
- state kept on the class ``Section`` (the folder of the first input ever read) is put aside;
- nothing is printed, `sys.argv` is not parsed, no ``RandomSamplingSeed.txt`` is written, no MPI, no LAMMPS
  instance and no signal handler is set up.
"""

from __future__ import annotations

import os
import random
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from snapuq.data.files import natural_key
from snapuq.errors import EnvironmentProblem

#: What FitSNAP draws afresh for each run where a group is sampled without a ``random_seed``.
UNSET_SEED = 0
_REMEDY = "install fitsnap3 with --no-deps and the packages of the extra 'fitsnap'; 'make venv' does it"
_SECTION_STATE = (
    "sections",
    "dependencies",
    "parameters",
    "_infile_directory",
    "_outfile_directory",
    "num_desc",
)


class SerialTools:
    """Stands for FitSNAP's ``ParallelTools``: one rank, and messages are kept instead of printed."""

    _rank = 0

    def __init__(self) -> None:
        self.messages: list[str] = []

    def get_rank(self) -> int:
        """Give the rank.

        Returns
        -------
        int
            Always 0.
        """
        return self._rank

    def get_seed(self) -> int:
        """Seed for random sampling where the input names none.

        Returns
        -------
        int
            Always the same, so that a fit can be repeated.
        """
        return UNSET_SEED

    def single_print(self, *words: object) -> None:
        """Keep a message.

        Parameters
        ----------
        *words : object
            As for `print`.
        """
        self.messages.append(" ".join(" ".join(map(str, words)).split()))

    def add_2_fitsnap(self, name: str, value: object) -> None:
        """Ignore a setting that only FitSNAP's calculators read.

        Parameters
        ----------
        name : str
            Its name.
        value : object
            Its value.
        """


@dataclass(frozen=True, eq=False)
class Fitsnap:
    """The parts of FitSNAP that reading needs; valid inside `adapted` only.

    Parameters
    ----------
    section_class : type
        ``Section``, base of all sections of an input.
    config_class, scraper_class : type
        ``Config`` without its command line, and the JSON scraper without its seed file.
    convert : callable
        Factor from a unit to FitSNAP's own.
    unit_modules : dict
        FitSNAP's units: kind of quantity to module.
    """

    section_class: Any
    config_class: Any
    scraper_class: Any
    convert: Callable[[list[str]], float]
    unit_modules: dict[str, ModuleType]


@contextmanager
def adapted() -> Iterator[Fitsnap]:
    """Import FitSNAP and adapt it for the duration of the block.

    Yields
    ------
    Fitsnap
        What reading needs.

    Raises
    ------
    EnvironmentProblem
        When FitSNAP or something that it imports is missing.
    """
    before = random.getstate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modules = _modules()
            with _patched(modules):
                yield _parts(modules)
    finally:
        random.setstate(before)


def _modules() -> dict[str, Any]:
    try:
        from fitsnap3lib.io import input as input_module
        from fitsnap3lib.io.sections import groups, sections
        from fitsnap3lib.scrapers import json_scraper, scrape
        from fitsnap3lib.units import conversion_finder
    except (ImportError, OSError) as error:
        text = " ".join(str(error).split())
        raise EnvironmentProblem(f"a FitSNAP input needs fitsnap3 ({text}); {_REMEDY}") from error
    return {
        "input": input_module,
        "groups": groups,
        "sections": sections,
        "json": json_scraper,
        "scrape": scrape,
        "units": conversion_finder,
    }


def _parts(modules: dict[str, Any]) -> Fitsnap:
    class QuietConfig(modules["input"].Config):  # type: ignore[misc]  # FitSNAP has no types
        def parse_cmdline(self, arguments_lst: object = None) -> None:
            # Overwrite, so that an output file of FitSNAP's in the current folder is no error.
            self.args = Namespace(overwrite=True, relative=False, verbose=False, infile=None)

    class QuietScraper(modules["json"].Json):  # type: ignore[misc]  # FitSNAP has no types
        def _write_seed_file(self, txt: str) -> None:
            pass

    return Fitsnap(
        section_class=modules["sections"].Section,
        config_class=QuietConfig,
        scraper_class=QuietScraper,
        convert=modules["scrape"].convert,
        unit_modules=modules["units"].unit_type_dict,
    )


@contextmanager
def _patched(modules: dict[str, Any]) -> Iterator[None]:
    source = random.Random()
    read_csv = modules["groups"].read_csv

    def read_table(path: str, delim_whitespace: bool, **options: object) -> Any:
        return read_csv(path, sep=r"\s+" if delim_whitespace else ",", **options)

    section = modules["sections"].Section
    fresh: dict[str, object] = {"sections": {}, "dependencies": {}, "parameters": []}
    with ExitStack() as undo:
        for name in _SECTION_STATE:
            undo.enter_context(_replaced(section, name, fresh.get(name)))
        for name, value in (
            ("listdir", _listdir),
            ("seed", source.seed),
            ("random", source.random),
            ("shuffle", _shuffle),
        ):
            undo.enter_context(_replaced(modules["scrape"], name, value))
        undo.enter_context(_replaced(modules["groups"], "read_csv", read_table))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _listdir(folder: str) -> list[str]:
    return sorted((n for n in os.listdir(folder) if is_data_file(n)), key=natural_key)  # noqa: PTH208 - FitSNAP's name


def is_data_file(name: str) -> bool:
    """Tell whether FitSNAP's JSON scraper would read a file of a group.

    Parameters
    ----------
    name : str
        File name.

    Returns
    -------
    bool
        Whether it is a visible ``.json`` file.
    """
    return name.endswith(".json") and not name.startswith(".")


def _shuffle(items: MutableSequence[Any], draw: Callable[[], float]) -> None:
    """Shuffle in place exactly as ``random.shuffle(items, draw)`` of Python 3.10 did."""
    for i in reversed(range(1, len(items))):
        j = int(draw() * (i + 1))
        items[i], items[j] = items[j], items[i]
