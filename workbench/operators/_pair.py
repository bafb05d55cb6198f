"""A forward map and its adjoint that torch cannot differentiate itself, joined by one autograd Function."""

import torch


class _Pair(torch.autograd.Function):
    """y = forward(x); the gradient is the adjoint, itself differentiable, to any order."""

    @staticmethod
    def forward(x, forward, adjoint):
        return forward(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.apply_forward, ctx.apply_adjoint = inputs

    @staticmethod
    def backward(ctx, grad):
        return _Pair.apply(grad, ctx.apply_adjoint, ctx.apply_forward), None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _Pair.apply(tangent, ctx.apply_forward, ctx.apply_adjoint)

    @staticmethod
    def vmap(info, in_dims, x, forward, adjoint):
        rows = [_Pair.apply(row, forward, adjoint) for row in x.unbind(in_dims[0])]
        return torch.stack(rows), 0


def apply_pair(x, forward, adjoint):
    """forward(x), with `adjoint` as its gradient: for linear maps in numpy, sparse matrices or other libraries."""
    return _Pair.apply(x, forward, adjoint)
