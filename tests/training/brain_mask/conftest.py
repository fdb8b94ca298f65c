import nibabel as nib
import numpy as np
import pytest

SKIN, BONE, FLUID, GREY, WHITE = 507, 515, 24, 3, 2


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    """A folder of two label maps: shells of white and grey matter, fluid, bone and skin."""
    folder = tmp_path_factory.mktemp("labels")
    for number, radius in ((1, 44), (2, 40)):
        x, y, z = np.indices((110, 110, 110)) - 55.0
        distance = np.sqrt(x**2 + y**2 + (1.1 * z) ** 2)
        shells = [distance < radius - 8, distance < radius - 3, distance < radius, distance < radius + 5]
        image = np.select([*shells, distance < radius + 9], [WHITE, GREY, FLUID, BONE, SKIN], default=0)
        nifti = nib.Nifti1Image(image.astype(np.int16), np.eye(4))
        nib.save(nifti, folder / f"head{number:02d}_dseg.nii.gz")
    return folder
