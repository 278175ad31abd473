"""Names joined into groups, directly or by a chain."""

from collections.abc import Iterable


class Groups:
    """Groups of names that grow together; at first each name stands alone.

    Args:
        names: All that there are.

    Example:
        >>> groups = Groups(["a", "b", "c"])
        >>> groups.join("a", "c")
        >>> groups.first_of("c"), groups.first_of("b")
        ('a', 'b')
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def first_of(self, name: str) -> str:
        """The alphabetically first name of the group that a name belongs to."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, name: str, other: str) -> None:
        """Make one group of two."""
        mine, theirs = self.first_of(name), self.first_of(other)
        self._parent[max(mine, theirs)] = min(mine, theirs)
