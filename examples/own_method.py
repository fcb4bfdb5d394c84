"""A method of your own, used as an object; as one file it becomes a name (see CONTRIBUTING.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

import sglr


@dataclass(frozen=True)
class FrozenStart(sglr.Method):
    """PSL whose clients begin to learn late: how much do their segments matter?"""

    frozen: float = field(default=0.5, metadata={"help": "share of the epochs in which only the server learns"})

    def exchange(self, server: sglr.Server, uplink: sglr.Uplink, context: sglr.Moment) -> sglr.Downlink:
        """Take one joint step; cut gradients ``[C, b, ...]`` are zero while clients are frozen."""
        cut_gradients = server.learn(uplink, context, context.server_rate)
        if context.epoch < self.frozen * context.epochs:
            cut_gradients.zero_()
        return sglr.Downlink(cut_gradients)


def main() -> None:
    methods = [sglr.PSL(), FrozenStart(), FrozenStart(frozen=1.0)]
    comparison = sglr.compare(methods, model="mlp", clients=10, epochs=10)
    print(comparison.markdown())


if __name__ == "__main__":
    main()
