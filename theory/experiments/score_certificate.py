"""What does a certificate see? A small network trained on gmm-3 beside the exact score of the law, measure by measure.

Both pass through `diagnostics.report` with the same clean signals. The network's score is no gradient and leaves a Fokker-Planck
residual, most at low noise, though its denoising error cannot be told from the best one's.
"""

import json
import sys
from math import nan

from theory.claims._networks import Field
from theory.claims.trained_networks import TrainedNetNonconservative, unit_gmm_3
from theory.diagnostics.certificate import Certificate, report
from theory.experiments import command


def measure(seed, small):
    """The certificates of the network and of the law, as plain numbers."""
    law = unit_gmm_3()
    net = TrainedNetNonconservative._trained(law, lambda: Field(2), 50 if small else 4000, seed)
    clean = law.sample(400, seed + 1)
    how = dict(n=64 if small else 256, seed=seed, exact=law, levels=3 if small else 7)
    train = law.sample(20_000, seed, stream="training")[:2000]
    found = {"network": report(net, clean, train=train, **how), "exact law": report(law, clean, **how)}
    return {name: json.loads(certificate.json()) for name, certificate in found.items()}


def certificate(name, found):
    """The Certificate of plain numbers."""
    numbers = lambda key: {k: [nan if v is None else v for v in m[key]] for k, m in found["measures"].items()}
    return Certificate(
        name,
        tuple(found["shape"]),
        found["n"],
        found["levels"],
        numbers("values"),
        numbers("errors"),
        found["notes"],
    )


def plot(found):
    """One panel a measure, the network and the law in each."""
    network, law = (certificate(name, part) for name, part in found.items())
    return network.plot(law)


if __name__ == "__main__":
    sys.exit(command("score_certificate", __doc__, measure, plot))
