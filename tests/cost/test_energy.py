"""Modelled energy is operations and bytes times a profile's figures."""

from __future__ import annotations

import json

import numpy as np

from sglr.cost.energy import ModelledEnergy
from sglr.cost.profiles import DeviceProfile

PROFILE = DeviceProfile("plain", 2.0, 3.0, 5.0, 7.0, "made up")


def test_energy_by_hand():
    found = ModelledEnergy(PROFILE, np.array([10.0, 20.0]), 100.0, up_bytes=4, down_bytes=1).summary()
    assert found["client_joules"] == {"mean": 30.0, "max": 40.0}
    assert found["server_joules"] == 300.0
    assert found["communication_joules"] == 4 * 5 + 1 * 7
    assert found["total_joules"] == 60 + 300 + 27
    assert found["profile"] == {
        "name": "plain",
        "client_joules_per_flop": 2.0,
        "server_joules_per_flop": 3.0,
        "joules_per_byte_up": 5.0,
        "joules_per_byte_down": 7.0,
        "source": "made up",
    }
    json.dumps(found)


def test_where_operations_are_unknown_only_communication_is_told():
    found = ModelledEnergy(PROFILE, None, None, up_bytes=4, down_bytes=1).summary()
    assert found["communication_joules"] == 27
    assert found["client_joules"] is found["server_joules"] is found["total_joules"] is None
