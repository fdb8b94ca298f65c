import pytest

from bids_mmh.errors import UsageError
from bids_mmh.runtime.processes import Process, device_of, this_process


@pytest.mark.parametrize(
    ("environ", "process"),
    [
        ({}, Process(0, 1, 0, 1)),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
            Process(5, 8, 1, 4),
        ),
        (
            {
                "SLURM_PROCID": "3",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
            },
            Process(3, 6, 1, 2),
        ),
        # a batch script outside of srun is one process, whatever the job was given
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_LOCALID": "0"}, Process(0, 1, 0, 1)),
    ],
)
def test_launchers(environ, process):
    assert this_process(environ) == process


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [device_of("cuda", Process(4, 8, local, 4)) for local in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert device_of("cpu", Process(1, 2, 1, 2)) == "cpu"
    assert device_of("cuda:1", Process()) == "cuda:1"
    with pytest.raises(UsageError, match="one device"):
        device_of("cuda:1", Process(1, 2, 1, 2))
