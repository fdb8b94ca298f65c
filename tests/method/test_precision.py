import pytest
import torch

from bids_mmh.method.precision import (
    fast_autocast,
    has_native_bf16,
    precision_name,
    without_autocast,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_a_cpu_has_bf16_by_its_instructions(monkeypatch, capabilities, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_native_bf16(CPU) is native


def test_a_pytorch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_native_bf16(CPU)


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_bf16_does_not_have_it(monkeypatch, native):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert has_native_bf16(CUDA) is native


def test_products_in_bf16_and_the_rest_in_float32(bfloat16):
    volume = torch.rand(1, 1, 4, 4, 4)
    with fast_autocast(CPU):
        assert torch.nn.functional.conv3d(volume, volume[..., :2, :2, :2]).dtype == torch.bfloat16
        assert (volume[0, 0] @ volume[0, 0]).dtype == torch.bfloat16
        assert (volume * 2 + volume.mean()).dtype == torch.float32
    assert (volume[0, 0] @ volume[0, 0]).dtype == torch.float32


def test_everything_in_float32_without_it(float32):
    volume = torch.rand(1, 1, 4, 4, 4)
    with fast_autocast(CPU):
        assert torch.nn.functional.conv3d(volume, volume[..., :2, :2, :2]).dtype == torch.float32


def test_name_with_bf16(bfloat16):
    assert precision_name(CPU) == "bf16-mixed"


def test_name_without_bf16(float32):
    assert precision_name(CPU) == "32-true"


def test_statistics_are_in_float32_wherever_they_are_called(bfloat16):
    matrix = torch.rand(8, 8)

    @without_autocast
    def product(left, right):
        return left @ right

    with fast_autocast(CPU):
        assert (matrix @ matrix).dtype == torch.bfloat16
        assert torch.equal(product(matrix, matrix), product(matrix, right=matrix))
        found = product(matrix, matrix)
    assert torch.equal(found, matrix @ matrix)
