"""Uncertainty quantification of linear models: streamed least squares, POPS, calibration."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .estimator import POPSRegressor

__all__ = ["POPSRegressor"]


def __getattr__(name: str) -> Any:
    # scikit-learn takes half a second to import, and only the estimator needs it.
    if name == "POPSRegressor":
        from .estimator import POPSRegressor

        return POPSRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
