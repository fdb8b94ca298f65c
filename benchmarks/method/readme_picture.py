"""The picture of the README: one subject at two sites, before and after, from the output of ``make demo``.

``python benchmarks/method/readme_picture.py demo/out docs/images/demo.webp``
"""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

ROWS, COLUMNS = ("preproc", "harmonized"), ("T1w", "T2w")


def axial_slice(path: Path) -> np.ndarray:
    """Middle axial slice, scaled to [0, 1] by the sidecar's scaling, anterior up, left on the left."""
    scaling = json.loads(path.with_suffix("").with_suffix(".json").read_text(encoding="utf-8"))[
        "IntensityScaling"
    ]
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(path))
    volume = np.asarray(image.dataobj[:, :, image.shape[2] // 2 + 8], dtype=np.float32)
    scaled = np.where(volume == 0, -1.0, volume * scaling["Slope"] + scaling["Intercept"])
    return np.rot90((scaled + 1) / 2)


def main(out_dir: Path, picture: Path) -> None:
    """Draw the first subject's first two sessions."""
    sessions = sorted(next(iter(sorted(out_dir.glob("sub-*/")))).glob("ses-*"))[:2]
    figure = Figure(figsize=(9, 5), facecolor="black", layout="constrained")
    axes = figure.subplots(len(ROWS), len(COLUMNS) * len(sessions))
    for row, desc in enumerate(ROWS):
        for column, (sequence, session) in enumerate((q, s) for q in COLUMNS for s in sessions):
            path = next(session.glob(f"anat/*_space-*_desc-{desc}_{sequence}.nii.gz"))
            axis = axes[row, column]
            axis.imshow(axial_slice(path), cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
            axis.set_title(f"{sequence}, {session.name[4:]}, {desc}", color="white", fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
