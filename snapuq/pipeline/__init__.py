"""The data path: read -> assemble -> fit -> sample -> evaluate | plan -> run -> summarise -> report."""

from snapuq.pipeline.attributing import attribute
from snapuq.pipeline.execute import execute
from snapuq.pipeline.inspect import check, dry_run
from snapuq.pipeline.reporting import rebuild_report
from snapuq.pipeline.status import describe_status

__all__ = ["attribute", "check", "describe_status", "dry_run", "execute", "rebuild_report"]
