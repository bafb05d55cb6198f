"""What constructors check: one sentence that names the argument, its value and the mend. None passes: a default."""

from math import isfinite

from workbench._errors import BadInput


def whole(who, least=1, **values):
    """Raise BadInput unless every value is a whole number, at least `least`."""
    for name, value in values.items():
        if value is not None and (not isinstance(value, int) or value < least):
            raise BadInput(f"{who}: {name} = {value} should be a whole number, at least {least}")


def positive(who, **values):
    """Raise BadInput unless every value is positive and finite."""
    for name, value in values.items():
        if value is not None and not (value > 0 and isfinite(value)):
            raise BadInput(f"{who}: {name} = {value} should be positive and finite")


def not_negative(who, **values):
    """Raise BadInput unless every value is 0 or more, and finite."""
    for name, value in values.items():
        if value is not None and not (value >= 0 and isfinite(value)):
            raise BadInput(f"{who}: {name} = {value} should be 0 or more, and finite")


def within(who, low, high, **values):
    """Raise BadInput unless low <= value <= high."""
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            raise BadInput(f"{who}: {name} = {value} should lie between {low} and {high}")
