"""The size of a phantom dataset: how many subjects at which sites."""

from dataclasses import dataclass

from bids_mmh.errors import UsageError

SEQUENCES = ("T1w", "T2w")
"""Suffixes that the phantom can make."""


@dataclass(frozen=True)
class Plan:
    """The size and seed of a dataset.

    Attributes:
        subjects: Number of subjects.
        sites: Number of sites, one scanner each.
        travelling: Number of travelling subjects, the first ones.
        visits: Number of sites that scan a travelling subject; 0 for all.
        seed: Random seed of everything.
        resolution: Base voxel size in mm.
        sequences: Suffixes to simulate.
        truth: Whether to write the ground truth.

    Raises:
        UsageError: If a number is out of range.
    """

    subjects: int
    sites: int
    travelling: int
    visits: int
    seed: int
    resolution: float
    sequences: tuple[str, ...]
    truth: bool

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.sites < 1:
            raise UsageError(f"{self.subjects} subjects at {self.sites} sites: take at least one of each.")
        if not 0 <= self.travelling <= self.subjects:
            raise UsageError(f"{self.travelling} travelling subjects: take 0 to {self.subjects} (all).")
        if self.visits and not 2 <= self.visits <= self.sites:
            raise UsageError(
                f"{self.visits} visits of a travelling subject: take 2 to {self.sites} (all sites)."
            )
        if self.seed < 0:
            raise UsageError(f"Seed {self.seed} is negative: take 0 or more.")
        if not 0.5 <= self.resolution <= 8:
            raise UsageError(f"A voxel size of {self.resolution:g} mm is out of range: take 0.5 to 8 mm.")
        if not self.sequences or set(self.sequences) - set(SEQUENCES):
            raise UsageError(f"Sequences {self.sequences} are not known: choose from {', '.join(SEQUENCES)}.")

    def sites_of(self, subject: int) -> list[int]:
        """Choose the sites that scan a subject.

        Travelling subjects start at successive sites and visit the following ones cyclically: with as many of
        them as there are sites, every two neighbouring sites share a subject.

        Args:
            subject: Number of the subject, from 0.

        Returns:
            Numbers of the sites, from 0, in ascending order.

        Examples:
            >>> size = {"subjects": 5, "sites": 3, "travelling": 3, "visits": 2}
            >>> plan = Plan(**size, seed=0, resolution=1.0, sequences=SEQUENCES, truth=True)
            >>> [plan.sites_of(subject) for subject in range(5)]
            [[0, 1], [1, 2], [0, 2], [0], [1]]
        """
        if subject < self.travelling:
            return sorted((subject + stop) % self.sites for stop in range(self.visits or self.sites))
        return [(subject - self.travelling) % self.sites]
