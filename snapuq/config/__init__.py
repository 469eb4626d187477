"""The campaign file: its grammar, its checks, and its resolved form."""

from snapuq.config.base import PairSection
from snapuq.config.dataset import (
    DatasetSection,
    ExcludeSection,
    GenerateSection,
    SplitSection,
    WeightsSection,
)
from snapuq.config.loader import dump_config, load_config, run_differences, run_identity
from snapuq.config.problems import InputErrors
from snapuq.config.requests import check_elements
from snapuq.config.schema import (
    CalibrateSection,
    CampaignConfig,
    CampaignSection,
    EnsembleSection,
    FitSection,
    PotentialSection,
    PropertyRequest,
    ReferenceSection,
)

__all__ = [
    "CalibrateSection",
    "CampaignConfig",
    "CampaignSection",
    "DatasetSection",
    "EnsembleSection",
    "ExcludeSection",
    "FitSection",
    "GenerateSection",
    "InputErrors",
    "PairSection",
    "PotentialSection",
    "PropertyRequest",
    "ReferenceSection",
    "SplitSection",
    "WeightsSection",
    "check_elements",
    "dump_config",
    "load_config",
    "run_differences",
    "run_identity",
]
