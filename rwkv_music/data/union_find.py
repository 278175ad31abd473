"""Disjoint sets of names."""

from collections.abc import Iterable


class UnionFind:
    """Disjoint sets of names; at first each name is in a set of its own.

    Args:
        names: All names.

    Example:
        >>> sets = UnionFind(["a", "b", "c"])
        >>> sets.union("a", "c")
        >>> sets.find("c"), sets.find("b")
        ('a', 'b')
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        """Return the alphabetically first name of the set that contains `name`."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def union(self, name: str, other: str) -> None:
        """Merge the sets of two names."""
        first, second = self.find(name), self.find(other)
        self._parent[max(first, second)] = min(first, second)
