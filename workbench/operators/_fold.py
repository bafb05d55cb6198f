"""The transpose of extending an axis beyond its ends."""


def fold(y, axis, first, n, source):
    """The window of n entries of y from `first` on, and every entry outside it added to the one it came from.

    source: for each entry of y along the axis, its place in the window. Margins are small, so this is nearly one copy.
    """
    x = y.narrow(axis, first, n).clone()
    for start, stop in ((0, first), (first + n, y.shape[axis])):
        x = x.index_add(axis, source[start:stop], y.narrow(axis, start, stop - start))
    return x
