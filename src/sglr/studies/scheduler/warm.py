"""What every training of a study needs, imported once: by the process that forks them, and for nothing else."""

import jinja2  # noqa: F401
import matplotlib.figure  # noqa: F401

import sglr.studies.scheduler.processes
import sglr.studies.scheduler.train_one  # noqa: F401
