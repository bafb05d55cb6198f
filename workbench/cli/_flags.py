"""Flags made from signatures: a sampler's scalar fields, a problem's arguments."""

import inspect
from dataclasses import MISSING, fields

from workbench._errors import BadInput


def scalar_fields(kind):
    """name -> default, of a dataclass's fields that are numbers."""
    found = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def scalar_arguments(function):
    """name -> default, of a function's arguments that are numbers, without the seed."""
    found = {k: p.default for k, p in inspect.signature(function).parameters.items() if k != "seed"}
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def add(parser, title, defaults):
    """One --flag for each name; the default gives its type."""
    group = parser.add_argument_group(title)
    for name, default in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        if flag in parser._option_string_actions:
            raise BadInput(f"{flag} means two things here; choose another sampler or guidance")
        group.add_argument(
            flag, dest=f"{title}.{name}", type=number(type(default)), default=None, metavar=str(default)
        )


def number(kind):
    """A parser of int or float that argparse names in its error."""

    def parse(text):
        value = kind(text)
        if value != value:  # not a number
            raise ValueError
        return value

    parse.__name__ = kind.__name__
    return parse


def given(args, title):
    """The values of `title`'s flags that were given."""
    head = f"{title}."
    return {k[len(head) :]: v for k, v in vars(args).items() if k.startswith(head) and v is not None}


def whole(text):
    """A whole number, at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def set_threads(number):
    """Threads of torch: `number`, or as many cores as are free now (a busy core slows a thread pool down)."""
    import os

    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    torch.set_num_threads(number or max(1, min(cores, round(cores - load))))
