"""sglr: scalable split learning. Train one network over data that may not leave its owner.

>>> import sglr
>>> run = sglr.train(sglr.SGLR(alpha=0.5, phi=0.75), dataset="digits", clients=10)  # doctest: +SKIP

Names are imported when they are first used, so that ``import sglr`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sglr.deprecated.old_names import install, old_name
from sglr.version import __version__

if TYPE_CHECKING:
    from sglr.assembly.load_model import load_model
    from sglr.core.data import ClientData, Dataset, Samples
    from sglr.core.errors import DivergedError, Interrupted, SglrError, UsageError
    from sglr.core.method import Method
    from sglr.core.server_protocol import Server
    from sglr.core.task import Targets, Task
    from sglr.core.types import Downlink, Extent, HandOut, ServerBatch, StepContext, Uplink
    from sglr.data.objects.several import pack_inputs
    from sglr.experiment.callback import Callback, CallbackError, StopTraining
    from sglr.experiment.resume import resume
    from sglr.experiment.train import train
    from sglr.exporting.adapters import export_adapters
    from sglr.exporting.export import Export, export
    from sglr.inference.network import TrainedNetwork
    from sglr.inference.predictions import Predictions
    from sglr.inference.run import Run
    from sglr.leakage.leak import leak
    from sglr.methods.cl import CL
    from sglr.methods.cse_fsl import CSEFSL
    from sglr.methods.cyclesl import CycleSL
    from sglr.methods.epsl import EPSL
    from sglr.methods.fl import FL
    from sglr.methods.fsl_sage import FSLSage
    from sglr.methods.gas import GAS
    from sglr.methods.gpsl import GPSL
    from sglr.methods.locfedmix_sl import LocFedMixSL
    from sglr.methods.mergesfl import MergeSFL
    from sglr.methods.minibatch_sfl import MiniBatchSFL
    from sglr.methods.mix2sfl import Mix2SFL
    from sglr.methods.psl import PSL
    from sglr.methods.scala import SCALA
    from sglr.methods.sfl import SFL
    from sglr.methods.sflv1 import SFLV1
    from sglr.methods.sflv2 import SFLV2
    from sglr.methods.sgl import SGL
    from sglr.methods.sglr import SGLR
    from sglr.methods.sglr2 import SGLR2
    from sglr.methods.slr import SLR
    from sglr.methods.splitgp import SplitGP
    from sglr.methods.ssl import SSL
    from sglr.runs.config import Experiment
    from sglr.splitting import Split, cut_points, every_cut, split
    from sglr.studies.compare.compare import Comparison, compare
    from sglr.studies.sweeps.results import Sweep
    from sglr.studies.sweeps.sweep import sweep
    from sglr.tasks.binary import Binary
    from sglr.tasks.classification import Classification
    from sglr.tasks.language import Language
    from sglr.tasks.multilabel import Multilabel
    from sglr.tasks.ordinal import Ordinal
    from sglr.tasks.regression import Regression
    from sglr.tasks.segmentation import Segmentation

_HOMES = {
    "sglr.studies.compare.compare": ("Comparison", "compare"),
    "sglr.runs.config": ("Experiment",),
    "sglr.core.data": ("ClientData", "Dataset", "Samples"),
    "sglr.core.errors": ("DivergedError", "Interrupted", "SglrError", "UsageError"),
    "sglr.core.method": ("Method",),
    "sglr.core.task": ("Targets", "Task"),
    "sglr.core.server_protocol": ("Server",),
    "sglr.splitting": ("Split", "cut_points", "every_cut", "split"),
    "sglr.core.types": ("Downlink", "Extent", "HandOut", "ServerBatch", "StepContext", "Uplink"),
    "sglr.data.objects.several": ("pack_inputs",),
    "sglr.experiment.callback": ("Callback", "CallbackError", "StopTraining"),
    "sglr.experiment.resume": ("resume",),
    "sglr.experiment.train": ("train",),
    "sglr.leakage.leak": ("leak",),
    "sglr.methods.cl": ("CL",),
    "sglr.methods.cse_fsl": ("CSEFSL",),
    "sglr.methods.cyclesl": ("CycleSL",),
    "sglr.methods.epsl": ("EPSL",),
    "sglr.methods.fl": ("FL",),
    "sglr.methods.fsl_sage": ("FSLSage",),
    "sglr.methods.gpsl": ("GPSL",),
    "sglr.methods.mergesfl": ("MergeSFL",),
    "sglr.methods.minibatch_sfl": ("MiniBatchSFL",),
    "sglr.methods.gas": ("GAS",),
    "sglr.methods.locfedmix_sl": ("LocFedMixSL",),
    "sglr.methods.mix2sfl": ("Mix2SFL",),
    "sglr.methods.psl": ("PSL",),
    "sglr.methods.scala": ("SCALA",),
    "sglr.methods.sfl": ("SFL",),
    "sglr.methods.sflv1": ("SFLV1",),
    "sglr.methods.splitgp": ("SplitGP",),
    "sglr.methods.sflv2": ("SFLV2",),
    "sglr.methods.sgl": ("SGL",),
    "sglr.methods.sglr": ("SGLR",),
    "sglr.methods.sglr2": ("SGLR2",),
    "sglr.methods.slr": ("SLR",),
    "sglr.methods.ssl": ("SSL",),
    "sglr.exporting.adapters": ("export_adapters",),
    "sglr.exporting.export": ("Export", "export"),
    "sglr.inference.network": ("TrainedNetwork",),
    "sglr.inference.predictions": ("Predictions",),
    "sglr.inference.run": ("Run",),
    "sglr.studies.sweeps.results": ("Sweep",),
    "sglr.studies.sweeps.sweep": ("sweep",),
    "sglr.tasks.binary": ("Binary",),
    "sglr.tasks.classification": ("Classification",),
    "sglr.tasks.language": ("Language",),
    "sglr.tasks.multilabel": ("Multilabel",),
    "sglr.tasks.ordinal": ("Ordinal",),
    "sglr.tasks.regression": ("Regression",),
    "sglr.tasks.segmentation": ("Segmentation",),
    "sglr.assembly.load_model": ("load_model",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CL",
    "CSEFSL",
    "EPSL",
    "FL",
    "GAS",
    "GPSL",
    "PSL",
    "SCALA",
    "SFL",
    "SFLV1",
    "SFLV2",
    "SGL",
    "SGLR",
    "SGLR2",
    "SLR",
    "SSL",
    "Binary",
    "Callback",
    "CallbackError",
    "Classification",
    "ClientData",
    "Comparison",
    "CycleSL",
    "Dataset",
    "DivergedError",
    "Downlink",
    "Experiment",
    "Export",
    "Extent",
    "FSLSage",
    "HandOut",
    "Interrupted",
    "Language",
    "LocFedMixSL",
    "MergeSFL",
    "Method",
    "MiniBatchSFL",
    "Mix2SFL",
    "Multilabel",
    "Ordinal",
    "Predictions",
    "Regression",
    "Run",
    "Samples",
    "Segmentation",
    "Server",
    "ServerBatch",
    "SglrError",
    "Split",
    "SplitGP",
    "StepContext",
    "StopTraining",
    "Sweep",
    "Targets",
    "Task",
    "TrainedNetwork",
    "Uplink",
    "UsageError",
    "__version__",
    "compare",
    "cut_points",
    "every_cut",
    "export",
    "export_adapters",
    "leak",
    "load_model",
    "pack_inputs",
    "resume",
    "split",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        return old_name(__name__, name, 3)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


install()
