"""Training of own models: a PDM, CCNF patch experts and a learned start from labelled images."""

from pyclnf.training.calibration import calibrate
from pyclnf.training.ccnf import sigma_components
from pyclnf.training.evaluation import Evaluation, evaluate, landmark_errors
from pyclnf.training.expansion import shape_expansion
from pyclnf.training.experts import ExpertConfig, train_ccnf
from pyclnf.training.faces import AnnotatedFaces, held_out
from pyclnf.training.samples import Windows
from pyclnf.training.shape_model import build_pdm
from pyclnf.training.start import DescentConfig, StartConfig, refine_start, train_start
from pyclnf.training.symmetry import MIRROR_68
from pyclnf.training.train import TrainingConfig, assemble_scales, train_experts, train_model
from pyclnf.training.views import DrawConfig

__all__ = [
    "MIRROR_68",
    "AnnotatedFaces",
    "DescentConfig",
    "DrawConfig",
    "Evaluation",
    "ExpertConfig",
    "StartConfig",
    "TrainingConfig",
    "Windows",
    "assemble_scales",
    "build_pdm",
    "calibrate",
    "evaluate",
    "held_out",
    "landmark_errors",
    "refine_start",
    "shape_expansion",
    "sigma_components",
    "train_ccnf",
    "train_experts",
    "train_model",
    "train_start",
]
