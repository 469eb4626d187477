"""The data path: read -> assemble -> fit -> sample -> evaluate | plan -> run -> summarise -> report."""

from snapuq.pipeline.execute import execute
from snapuq.pipeline.inspect import check, dry_run
from snapuq.pipeline.reporting import rebuild_report

__all__ = ["check", "dry_run", "execute", "rebuild_report"]
