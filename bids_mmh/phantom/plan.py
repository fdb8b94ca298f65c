"""What to make: how many people at which sites."""

from dataclasses import dataclass

from bids_mmh.errors import UsageError

SEQUENCES = ("T1w", "T2w")
"""Suffixes that the phantom can make."""


@dataclass(frozen=True)
class Plan:
    """The size and seed of a dataset.

    Attributes:
        subjects: Number of people.
        sites: Number of scanners.
        travelling: The first so many people are scanned at several sites.
        visits: How many sites scan a travelling person; 0 for all.
        seed: Decides everything.
        resolution: Base voxel size in mm.
        sequences: Suffixes to make.
        truth: Whether to write the truth.

    Raises:
        UsageError: If a number makes no sense.
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
        """Return the numbers of the sites that scan a person, in ascending order.

        Travelling people start at the sites in turn and go on to the next ones, round and round: with as many
        of them as there are sites, every two neighbouring sites share somebody.
        """
        if subject < self.travelling:
            return sorted((subject + stop) % self.sites for stop in range(self.visits or self.sites))
        return [(subject - self.travelling) % self.sites]
