"""A client's round: an epoch over its samples, with an optimizer of its own that begins anew."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.nn import functional as F

from fedavg.work import network, work

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train what the server sent."""
    given, own = work(), int(context.node_config["partition-id"])
    inputs, targets = given["inputs"][own], given["targets"][own]
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.Adam(model.parameters(), given["rate"], fused=True)
    for rows in torch.randperm(len(targets)).split(given["batch"]):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    content = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": len(targets)}),
    }
    return Message(content=RecordDict(content), reply_to=message)
