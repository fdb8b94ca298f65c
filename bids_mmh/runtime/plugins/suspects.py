"""Steps that were running when a worker was killed: one of them was the reason, the others are innocent."""

from collections.abc import Callable


class Suspects:
    """Repeats steps one at a time, so that only what ends its worker again, all by itself, counts as failed.

    Args:
        start: starts a step again.
    """

    def __init__(self, start: Callable[[int], None]) -> None:
        self._start = start
        self._waiting: list[int] = []
        self._alone: int | None = None

    @property
    def are_there(self) -> bool:
        """Whether other steps have to wait."""
        return bool(self._waiting) or self._alone is not None

    def killed(self, task: int) -> bool:
        """Take note that the worker of a step was killed; whether the step has failed for good."""
        if task == self._alone:
            self._alone = None
            return True
        if task not in self._waiting:
            self._waiting.append(task)
        return False

    def ended(self, task: int) -> None:
        """Take note that a step has ended by itself, one way or another."""
        if task == self._alone:
            self._alone = None

    def go_on(self, running: int) -> None:
        """Start the next one, where nothing runs; ``running`` is how many other steps do."""
        if self._waiting and self._alone is None and running == 0:
            self._alone = self._waiting.pop(0)
            self._start(self._alone)
