import subprocess
import sys

import pytest

from bids_mmh.cli.phantom import build_parser, main


def test_travelling_without_a_number_means_everybody():
    assert build_parser().parse_args(["out"]).travelling == 0
    assert build_parser().parse_args(["out", "--travelling"]).travelling == -1
    assert build_parser().parse_args(["out", "--travelling", "2"]).travelling == 2


def test_exit_codes(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    assert main([str(tmp_path)]) == 73
    assert "not empty" in capsys.readouterr().err
    assert main([str(tmp_path / "out"), "--subjects", "0"]) == 64
    with pytest.raises(SystemExit) as leaving:
        main([str(tmp_path / "out"), "--subjects", "many"])
    assert leaving.value.code == 64


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom bids_mmh.cli.phantom import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'numpy', 'nilearn', 'scipy', 'nibabel'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
