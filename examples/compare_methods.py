"""Compare methods on the embedded digits: same data, same clients, same number of epochs, two seeds.

The same comparison on the command line:

    sglr compare --methods psl,sfl,sglr,sglr:phi=1,average=class --seeds 0,1 --model mlp
"""

from __future__ import annotations

import sglr


def main() -> None:
    methods = [sglr.PSL(), sglr.SFL(), sglr.SGLR(), sglr.SGLR(phi=1.0, average="class")]
    comparison = sglr.compare(methods, seeds=[0, 1], model="mlp")
    for row in comparison.rows:
        test = row["test"]
        print(f"{row['label']:34} {100 * test['accuracy']:5.1f} % ± {100 * test['accuracy_sd']:.1f}")
    print(f"\nreport: {comparison.path / 'report.html'}")


if __name__ == "__main__":
    main()
