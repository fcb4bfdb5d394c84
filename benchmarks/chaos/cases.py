"""What is trained under faults: every method that sites can run, and what a run can have beside its method."""

from __future__ import annotations

CLIENTS = 2

SHARED = {
    "clients": CLIENTS,
    "samples-per-client": 40,
    "test-samples": 40,
    "validation": 30,
    "model": "mlp",
    "device": "cpu",
    "stacking": "looped",
    "threads": 1,
    "optimizer": "sgd:momentum=0.9",
    "checkpoint-every": 2,
}
"""Five steps an epoch, with a momentum that a client loses with its memory, and a checkpoint every other step."""

CASES: dict[str, dict[str, object]] = {
    "psl": {"method": "psl"},
    "slr": {"method": "slr"},
    "sgl": {"method": "sgl"},
    "sglr": {"method": "sglr"},
    "sglr by class": {"method": "sglr", "average": "class"},
    "ssl": {"method": "ssl"},
    "sfl": {"method": "sfl"},
    "sflv1": {"method": "sflv1"},
    "sflv2": {"method": "sflv2"},
    "fl": {"method": "fl"},
    "cyclesl": {"method": "cyclesl"},
    "sglr2": {"method": "sglr2"},
    "minibatch-sfl": {"method": "minibatch-sfl"},
    "mergesfl": {"method": "mergesfl"},
    "gpsl": {"method": "gpsl"},
    "scala": {"method": "scala"},
    "gas": {"method": "gas"},
    "mix2sfl": {"method": "mix2sfl"},
    "epsl": {"method": "epsl"},
    "cse-fsl": {"method": "cse-fsl", "h": 2},
    "fsl-sage": {"method": "fsl-sage", "h": 2, "align-every": 1, "align-epochs": 5, "memory": 20},
    "splitgp": {"method": "splitgp"},
    "locfedmix-sl": {"method": "locfedmix-sl"},
    "sglr with tails": {"method": "sglr", "tail": "relu2"},
    "sglr, int8 with feedback": {"method": "sglr", "compression": "int8:feedback=true"},
    "sfl, half take part": {"method": "sfl", "participation": 0.5},
    "psl with a noise defence": {"method": "psl", "defence": "clip:norm=5+noise:sigma=0.1"},
}


def flags(case: str, epochs: int) -> list[str]:
    """Return the command line's flags of a case."""
    return [f"--{name}={value}" for name, value in {**SHARED, **CASES[case], "epochs": epochs}.items()]
