"""Every file that the program writes: one registry of names, what is in them, and who writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from bids_mmh.bids.names import DerivativeName, derivative_path, parse_name

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "preproc": "Bias-corrected and, in a standard space, skull-stripped and resampled; not harmonized",
        "harmonized": "Preprocessed and harmonized: intensities as if one scanner had acquired all of them",
        "change": "What harmonization changed beyond contrast and slow fields, in scaled units",
        "brain": "Brain mask of the scan that the session was registered by (its T1w where there is one)",
        "brainT2w": "Brain mask on the grid of the T2w scan",
    }
)
"""What the labels of ``desc-`` mean: the content of ``descriptions.tsv``."""


@dataclass(frozen=True)
class Output:
    """One kind of file.

    Attributes:
        key: what the code calls it.
        pattern: its path below the output folder. ``{scan}`` stands for the entities of the raw scan and puts
            the file into the ``anat`` folder of its session; other names in braces are filled in.
        description: what is in it, for users.
        written_by: module that writes it.
    """

    key: str
    pattern: str
    description: str
    written_by: str

    @cached_property
    def _name(self) -> DerivativeName:
        return parse_name(self.pattern)

    def path(self, root: Path, entities: Mapping[str, str] | None = None, **values: str) -> Path:
        """Where one file of this kind lies.

        Args:
            root: output folder.
            entities: of the raw scan, under pybids' names; for patterns with ``{scan}``.
            **values: what stands in the braces of the pattern.
        """
        if entities is None:
            return root / self.pattern.format(**values)
        suffix = self._name.suffix.format(**values)
        extension = "".join(self.pattern.partition(".")[1:])
        return derivative_path(root, entities, suffix=suffix, extension=extension, **self.labels(**values))

    def labels(self, **values: str) -> dict[str, str]:
        """The entities that tell a file of this kind from the raw scan, by key.

        Args:
            **values: what stands in the braces of the pattern; more may be given.
        """
        return {key: label.format(**values) for key, label in self._name.labels.items()}


_SCAN, _PARTICIPANT, _GROUP = "participant.outputs", "participant", "group"
_MNI = "{scan}_space-{space}_res-{res}"

_ALL = (
    Output("description", "dataset_description.json", "what this dataset is", _PARTICIPANT),
    Output("readme", "README", "the same in words", _PARTICIPANT),
    Output("bidsignore", ".bidsignore", "what validators skip", _PARTICIPANT),
    Output("descriptions", "descriptions.tsv", "what the `desc-` labels mean (+ `.json`)", _PARTICIPANT),
    Output("participants", "participants.tsv", "carried over from the raw dataset, for ages", _PARTICIPANT),
    Output("page", "{session}.html", "the page of a session", "participant.report"),
    Output(
        "mni_preproc",
        _MNI + "_desc-preproc_{sequence}.nii.gz",
        "bias-corrected, brain only, intensities as acquired",
        _SCAN,
    ),
    Output(
        "mni_harmonized",
        _MNI + "_desc-harmonized_{sequence}.nii.gz",
        "harmonized, 0 (background) to about 1000",
        _SCAN,
    ),
    Output(
        "mni_change",
        _MNI + "_desc-change_{sequence}.nii.gz",
        "what no local change of contrast explains, in steps of .01 scaled units; 0 is unchanged anatomy",
        _SCAN,
    ),
    Output(
        "mni_mask",
        _MNI + "_desc-{brain}_mask.nii.gz",
        "brain mask: `desc-brain`, or `desc-brainT2w` for a T2w beside a T1w",
        _SCAN,
    ),
    Output(
        "native_preproc",
        "{scan}_desc-preproc_{sequence}.nii.gz",
        "bias-corrected, head kept, the scan's own voxels",
        _SCAN,
    ),
    Output(
        "native_harmonized",
        "{scan}_desc-harmonized_{sequence}.nii.gz",
        "harmonized, the scan's own voxels; brain only, or with what surrounds it (`--outside keep`)",
        _SCAN,
    ),
    Output("native_mask", "{scan}_desc-{brain}_mask.nii.gz", "brain mask, the scan's own voxels", _SCAN),
    Output(
        "to_template",
        "{scan}_from-{sequence}_to-{space}_mode-image_xfm.txt",
        "ITK affine that resamples the scan to the template",
        _SCAN,
    ),
    Output(
        "to_anchor",
        "{scan}_from-{sequence}_to-{anchor}_mode-image_xfm.txt",
        "ITK affine that resamples the scan to the session's T1w",
        _SCAN,
    ),
    Output(
        "group_table",
        "group_{sequence}_table.tsv",
        "one row a scan (+ `.json`), see [the group page](group.md)",
        "group.report",
    ),
    Output(
        "site_distances_table",
        "site_distances_{sequence}_table.tsv",
        "distances of every two sites before and after (+ `.json`), see [the group page](group.md)",
        "group.site_comparison",
    ),
    Output(
        "evaluation_table",
        "evaluation_{sequence}_table.tsv",
        "figures of the evaluation (+ `.json`), see [the group page](group.md)",
        "group.evaluation.report",
    ),
    Output("group_page", "group.html", "the page of the study", "group.report"),
    Output(
        "model",
        "models/{name}",
        "a model that was fitted to the study, see [a whole study](studies.md)",
        "group.fit",
    ),
    Output(
        "summary",
        "logs/{run}_summary.tsv",
        "what came of each scan of a run, why, and which file to look at",
        "participant.summary",
    ),
    Output(
        "profile",
        "logs/{run}_profile.{ending}",
        "when each step of a run was carried out: a chart, and the same as a table (`--profile`)",
        "runtime.step_times",
    ),
    Output("citation", "logs/CITATION.md", "text for a methods section", _PARTICIPANT),
    Output("group_citation", "logs/CITATION_group.md", "the same for the evaluation", "group.report"),
)

OUTPUTS: Mapping[str, Output] = MappingProxyType({output.key: output for output in _ALL})


def mask_label(is_anchor: bool, sequence: str) -> str:
    """``desc-`` label of a brain mask: the suffix ``mask`` does not say of which sequence it is.

    Args:
        is_anchor: whether the scan is the one that the session was registered by (its T1w, as a rule).
        sequence: suffix of the scan, such as ``T2w``.

    Returns:
        ``brain`` for the anchor, ``brainT2w`` and the like for the others.
    """
    return "brain" if is_anchor else f"brain{sequence}"


def outputs_table() -> str:
    """All outputs as a Markdown table: the one in ``docs/outputs.md``."""
    rows = ["| file | what is in it | written by |", "|---|---|---|"]
    for output in _ALL:
        pattern = output.pattern.replace("{", "<").replace("}", ">")
        rows.append(f"| `{pattern}` | {output.description} | `{output.written_by}` |")
    return "\n".join(rows)
