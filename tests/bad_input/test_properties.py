"""Whatever a header, a table or a layout says: it is read rightly, or refused in a sentence."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bids_mmh.bids.atomic import write_tsv
from bids_mmh.bids.inputs import find_sessions
from bids_mmh.bids.names import derivative_path, parse_name
from bids_mmh.bids.tables import known, read_tsv
from bids_mmh.errors import BidsMmhError
from bids_mmh.files import atomic_path
from bids_mmh.preprocess.images import to_array
from bids_mmh.preprocess.steps.load import load_scan, save_on_input_voxels
from bids_mmh.settings import Settings

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
DTYPES = ("u1", "i2", "<i4", ">i2", "u2", "f4", ">f4", "f8", "i1", "u4")


@st.composite
def affines(draw):
    """An orientation, a tilt of up to a right angle, voxels of 4 to 9 mm and any origin."""
    axes = draw(st.permutations(range(3)))
    flips = draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    rotation = nib.eulerangles.euler2mat(*draw(st.tuples(*[st.floats(-0.7, 0.7)] * 3)))
    sizes = draw(st.tuples(*[st.floats(4, 9)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return nib.affines.from_matvec(rotation @ np.eye(3)[:, axes] @ np.diag(flips) @ np.diag(sizes), origin)


@quick
@given(
    shape=st.tuples(*[st.integers(8, 20)] * 3),
    affine=affines(),
    dtype=st.sampled_from(DTYPES),
    slope=st.sampled_from([None, 0.001, 0.5, -2.0, 1e4]),
    inter=st.sampled_from([0.0, -1000.0, 3.5]),
    codes=st.sampled_from([(1, 1), (1, 0), (0, 1), (4, 2)]),
    version=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
)
def test_scans_of_any_orientation_type_and_scaling_are_read_as_nibabel_reads_them(
    shape, affine, dtype, slope, inter, codes, version, ending
):
    assume(max(np.array(shape) * np.linalg.norm(affine[:3, :3], axis=0)) >= 50)
    stored = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    image = version(stored, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"sub-1_T1w{ending}"
        nib.save(image, path)
        scan = load_scan(path)
        oracle = nib.as_closest_canonical(nib.load(path))
        values = to_array(scan.image)
        expected = np.asarray(oracle.dataobj, dtype=np.float32)
        spread = np.ptp(expected)
        np.testing.assert_allclose(values, expected, atol=1e-5 * spread + 1e-6 * np.abs(expected).max())
        corner = np.array(values.shape) - 1.0
        for index in (0 * corner, corner):
            lps = np.array(scan.image.TransformContinuousIndexToPhysicalPoint(index.tolist()))
            ras = nib.affines.apply_affine(oracle.affine, index)
            np.testing.assert_allclose(lps * [-1, -1, 1], ras, atol=0.01)
        back = nib.load(save_on_input_voxels(scan.image, path, Path(folder) / "back.nii.gz"))
        np.testing.assert_allclose(back.affine, nib.load(path).affine, atol=1e-3)
        np.testing.assert_allclose(
            np.asarray(back.dataobj), np.asarray(nib.load(path).dataobj), rtol=1e-4, atol=1e-4 * spread
        )


HEADER = nib.Nifti1Header()
FIELDS = [name for name in HEADER if name not in ("sizeof_hdr", "magic")]


@quick
@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.binary(min_size=80, max_size=80)), max_size=3))
def test_headers_of_any_content_are_read_or_refused_in_a_sentence(changes):
    data = np.random.default_rng(0).integers(0, 100, (12, 13, 14)).astype(np.int16)
    raw = bytearray(nib.Nifti1Image(data, np.diag([6.0, 6, 6, 1])).to_bytes())
    for name, noise in changes:
        dtype, offset = HEADER.template_dtype.fields[name][:2]
        raw[offset : offset + dtype.itemsize] = noise[: dtype.itemsize]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sub-1_T1w.nii"
        path.write_bytes(raw)
        try:
            scan = load_scan(path)
        except BidsMmhError as error:
            assert str(path) in str(error)
            assert str(error).endswith(".")
            assert "\n" not in str(error)
            return
        values = to_array(scan.image)
        assert np.isfinite(values).all()
        assert values.min() < values.max()


CELLS = st.text(max_size=12)


@quick
@given(
    columns=st.lists(CELLS, min_size=1, max_size=4, unique_by=known),
    rows=st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=5),
)
def test_tables_of_any_text_keep_every_cell_in_its_column_and_row(columns, rows):
    columns = [f"c{number}{name}".strip() for number, name in enumerate(columns)]
    written = [dict(zip(columns, cells, strict=False)) for cells in rows]
    with TemporaryDirectory() as folder:
        path = write_tsv(Path(folder) / "t.tsv", written, columns)
        if "\0" in path.read_text():
            return
        lines = path.read_bytes().decode().split("\n")
        assert len(lines) == len(written) + 2
        read = read_tsv(path)
    wanted = [[known(clean(row[name])) for name in columns] for row in written]
    assert [list(row.values()) for row in read] == [
        row for row, line in zip(wanted, lines[1:], strict=False) if line.strip()
    ]


def clean(cell: str) -> str:
    return "".join(" " if mark in "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029" else mark for mark in cell)


LABEL = st.from_regex("[a-zA-Z0-9][a-zA-Z0-9+]{0,5}", fullmatch=True)
ENTITIES = st.fixed_dictionaries(
    {"subject": LABEL},
    optional={
        "session": LABEL,
        "acquisition": LABEL,
        "run": st.integers(1, 99).map(str),
        "reconstruction": LABEL,
    },
)


@quick
@given(entities=ENTITIES, space=LABEL)
def test_names_of_derivatives_can_be_taken_apart_again(entities, space):
    path = derivative_path(Path("/out"), entities, suffix="T1w", extension=".nii.gz", space=space, desc="x")
    name = parse_name(path.name)
    assert name.source_entities == entities
    assert (name.space, name.suffix) == (space, "T1w")
    assert path.is_relative_to(f"/out/sub-{entities['subject']}")


@quick
@given(label=st.text(min_size=1, max_size=8))
def test_labels_of_any_text_never_lead_out_of_the_output_folder(label):
    try:
        path = derivative_path(Path("/out"), {"subject": label}, suffix="T1w", extension=".nii.gz")
    except ValueError:
        return
    assert path.parent.parent.parent == Path("/out")
    assert not {"/", "\\", ".", "\0"} & set(label)


@settings(quick, max_examples=12)
@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["01", "02", "1"]),
            st.sampled_from(["", "A", "B"]),
            st.sampled_from(
                ["", "acq-x", "run-1", "run-02", "part-mag", "part-phase", "desc-y", "echo-1", "rec-z"]
            ),
            st.sampled_from(["T1w", "T2w", "FLAIR", "bold"]),
        ),
        st.sampled_from([".nii", ".nii.gz", ".json"]),
        min_size=1,
        max_size=8,
    )
)
def test_any_layout_gives_each_session_one_ordinary_scan_a_sequence(files):
    with TemporaryDirectory() as folder:
        root = Path(folder) / "sub-raw"
        root.mkdir()
        (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
        wanted = set()
        for (subject, session, entity, suffix), ending in files.items():
            stem = "_".join(filter(None, [f"sub-{subject}", session and f"ses-{session}", entity, suffix]))
            path = root.joinpath(
                f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat", stem + ending
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            ordinary = entity not in ("part-phase", "desc-y") and ending != ".json"
            if suffix in ("T1w", "T2w") and ordinary:
                wanted.add((subject, session or None, suffix))
        try:
            found = find_sessions(root)
        except BidsMmhError as error:
            assert str(error).endswith(".")
            found = []
        scans = [(one.subject, one.session, scan.sequence) for one in found for scan in one.scans]
        assert sorted(scans, key=str) == sorted(wanted, key=str)


@pytest.mark.parametrize("option", ["fit_name", "participant_label", "session_label", "derivatives"])
@quick
@given(name=st.text(min_size=1, max_size=10))
def test_names_in_options_never_lead_out_of_a_folder(option, name):
    value = f"{name}=/d" if option == "derivatives" else name
    try:
        made = Settings(bids_dir="/raw", output_dir="/out", analysis_level="group", **{option: value})
    except ValueError:
        return
    kept = getattr(made, option) if option == "fit_name" else getattr(made, option)[0].partition("=")[0]
    assert (Path("/out/models") / kept).parent == Path("/out/models")
    assert kept not in ("", ".", "..")


@quick
@given(
    site=st.one_of(
        st.text(min_size=1, max_size=10), st.sampled_from(["..", "../x", "/etc", "a/../../b", "\0"])
    )
)
def test_models_named_after_sites_stay_in_their_folder(site):
    from bids_mmh.group.transfer import model_name

    options = Settings(bids_dir="/raw", output_dir="/out", analysis_level="group")
    folder = Path("/out/models") / model_name(options, site)
    assert folder.parent == Path("/out/models")
    assert "\0" not in folder.name


@quick
@given(content=st.binary(max_size=300))
def test_an_atomic_write_gives_all_or_nothing(content):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(b"old")
        with pytest.raises(KeyError), atomic_path(path) as temporary:
            temporary.write_bytes(content)
            raise KeyError
        assert path.read_bytes() == b"old"
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        assert path.read_bytes() == content
        assert list(Path(folder).iterdir()) == [path]
