"""What the targets of a task look like, where no data set tells it."""

from __future__ import annotations

from sglr.core.errors import UsageError
from sglr.core.registry import TASKS
from sglr.core.task import Targets, Task


def targets_of(task: str, input_shape: tuple[int, ...], number: int) -> Targets:
    """Return the targets that a task takes for inputs of a shape.

    Parameters
    ----------
    task
        Its name.
    input_shape
        Of one sample.
    number
        K: classes of a sample, of each pixel or token; or how many findings or measurements a sample has.

    Raises
    ------
    UsageError
        If the task takes no such targets.
    """
    found: Task = TASKS.load(task)()
    kinds = (
        Targets(classes=number),
        Targets(shape=(number,), dtype="uint8", classes=2),
        Targets(shape=(number,), dtype="float32"),
        Targets(shape=input_shape[1:], dtype="uint8", classes=number),
        Targets(shape=input_shape, dtype="int64", classes=number),
    )
    for kind in kinds:
        try:
            found.check(kind)
        except UsageError:
            continue
        return kind
    problem = f"the task {task} has no targets of that number for inputs of shape {list(input_shape)}"
    raise UsageError("classes", number, problem, "give another number, or --dataset")
