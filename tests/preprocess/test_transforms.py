import numpy as np
import SimpleITK

from bids_mmh.preprocess.transforms import compose, from_matrix, read_transform, save_transform, to_matrix


def _matrix(seed):
    matrix = np.eye(4)
    matrix[:3] += 0.2 * np.random.default_rng(seed).normal(size=(3, 4)) * [1, 1, 1, 50]
    return matrix


def test_matrix_round_trip():
    np.testing.assert_allclose(to_matrix(from_matrix(_matrix(0))), _matrix(0), atol=1e-12)


def test_composition_applies_the_first_first():
    first, then = from_matrix(_matrix(1)), from_matrix(_matrix(2))
    point = (3.0, -4.0, 5.0)
    expected = then.TransformPoint(first.TransformPoint(point))
    np.testing.assert_allclose(compose(first, then=then).TransformPoint(point), expected, atol=1e-10)


def test_file_is_one_itk_affine_and_reads_back(tmp_path):
    euler = SimpleITK.Euler3DTransform((10, 20, 30), 0.1, -0.2, 0.3, (4, 5, 6))
    path = save_transform(euler, tmp_path / "xfm.txt")
    assert "Transform: AffineTransform_double_3_3" in path.read_text()
    np.testing.assert_allclose(to_matrix(read_transform(path)), to_matrix(euler), atol=1e-9)
    assert [p.name for p in tmp_path.iterdir()] == ["xfm.txt"]  # nothing temporary is left
