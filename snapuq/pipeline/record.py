"""``summary.yaml``: what was done, with which versions, seeds and counts, and how long it took."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from snapuq.config import CampaignConfig
from snapuq.errors import InputError
from snapuq.pipeline.folder import RunFolder
from snapuq.provenance import versions, write_text


def update_record(run: RunFolder, config: CampaignConfig, **entries: Any) -> None:
    """Merge entries into ``summary.yaml``.

    Parameters
    ----------
    run : RunFolder
        The output folder.
    config : CampaignConfig
        The configuration.
    **entries : object
        Plain data; mappings are merged with what is there.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    basis = {"name": config.name, "seed": config.seed, "versions": dict(versions())}
    record: dict[str, Any] = {**read_record(run), **basis}
    for key, value in entries.items():
        merge = isinstance(value, Mapping) and isinstance(record.get(key), Mapping)
        record[key] = {**record[key], **value} if merge else value
    stream = io.StringIO()
    yaml.dump(record, stream)
    write_text(run.record, stream.getvalue())


def read_record(run: RunFolder) -> dict[str, Any]:
    """Read ``summary.yaml``.

    Parameters
    ----------
    run : RunFolder
        The output folder.

    Returns
    -------
    dict
        Its entries; empty when there is no such file.

    Raises
    ------
    InputError
        When it has been damaged.
    """
    if not run.record.is_file():
        return {}
    try:
        record = YAML(typ="safe", pure=True).load(run.record.read_text(encoding="utf-8"))
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"cannot be read ({reason})", file=run.record, hint="remove it") from None
    if record is None:
        return {}
    sections = ("versions", "timings", "campaign", "stability")
    sound = isinstance(record, dict) and all(isinstance(record.get(k, {}), dict) for k in sections)
    if not sound:
        raise InputError("is damaged", file=run.record, expected="what snapuq wrote", hint="remove it")
    return dict(record)
