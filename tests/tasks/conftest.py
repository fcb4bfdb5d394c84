"""Tests here import torchmetrics, which imports torchvision where it is installed, in whatever build."""

from __future__ import annotations

from sglr.metrics.import_torchmetrics import import_torchmetrics

import_torchmetrics()
