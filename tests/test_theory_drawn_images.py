"""Images that can only be drawn: disks of five numbers, and smooth pieces along a smooth contour."""

import pytest
import torch
from laws import close
from test_theory_laws import z

from theory.distributions.c_alpha import CAlpha
from theory.distributions.disks import Disks
from workbench import BadInput, Rng

F64 = torch.float64


def test_disks_have_five_dimensions():
    law = Disks(32)
    p = law.parameters(6, 0)
    J = torch.func.vmap(torch.func.jacrev(lambda q: law.draw(q[None])[0].flatten()))(p)
    s = torch.linalg.svdvals(J)
    assert J.shape == (6, 1024, 5) and (s[:, -1] > 1e-3).all() and law.intrinsic_dim(p).tolist() == [5] * 6
    assert close(law.sample(6, 0)[:3], law.sample(3, 0))


def test_a_disk_has_its_area_and_place():
    law = Disks(64)
    p = torch.tensor([[30.0, 21.5, 10.0, 1.0, 0.0]], dtype=F64)
    x, at = law.draw(p)[0], torch.arange(64, dtype=F64) + 0.5
    assert x.sum().item() == pytest.approx(torch.pi * 100, rel=2e-3)
    assert (x.sum(1) @ at / x.sum()).item() == pytest.approx(30.0, abs=1e-2)
    assert (x.sum(0) @ at / x.sum()).item() == pytest.approx(21.5, abs=1e-2)


@pytest.mark.parametrize("alpha", [0.3, 0.6])
def test_pieces_and_contours_are_smooth_of_order_alpha(alpha):
    law = CAlpha(alpha, 256)
    b, c = law.backgrounds(12, Rng(0)), law.contours(400, Rng(1))
    assert b.var().item() == pytest.approx(1, abs=0.2) and c.var().item() == pytest.approx(1, abs=0.1)
    for f in (b, c):
        rough = [(f - f.roll(h, -1)).square().mean() for h in (4, 8)]
        assert (rough[1] / rough[0]).log2().item() == pytest.approx(2 * alpha, abs=0.15)


def test_a_c_alpha_image_is_two_levels():
    x = CAlpha(1.0, 32).sample(1500, 0)
    assert x.mean().item() == pytest.approx(0.5, abs=0.01)
    assert z(x[:, :2] - 0.7) < 4.5 and z(x[:, -2:] - 0.3) < 4.5  # five deviations from the contour
    assert close(CAlpha(1.0, 32).sample(3, 0), x[:3])


def test_what_is_refused():
    with pytest.raises(BadInput, match="alpha = 0"):
        CAlpha(0)
    with pytest.raises(BadInput, match="N = 4"):
        Disks(4)
