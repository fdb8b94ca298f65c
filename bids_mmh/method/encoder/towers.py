"""Vision towers whose weights come from elsewhere, built from their published configurations.

Only the image half of a CLIP-like model is built: no text tower, no tokenizer, no network access.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Intake:
    """What a tower is fed: (N, channels, size, size), intensities in [0, 1] standardised by mean and std.

    Attributes:
        size: edge of the input in pixels.
        channels: 1, or 3 for towers trained on colour pictures.
        mean: per channel, as the weights were trained with.
        std: likewise.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Tower:
    """A published vision tower.

    Attributes:
        name: what the user calls it.
        dim: length D of its embeddings.
        intake: how it wants its images.
        build: makes it with untrained weights.
        marker: a key that only this tower's weights have.
        repository: on the Hugging Face hub.
        files: names of its weights there, the first choice first.
    """

    name: str
    dim: int
    intake: Intake
    build: Callable[[], nn.Module]
    marker: str
    repository: str
    files: tuple[str, ...]


_CLIP_INTAKE = Intake(
    size=224,
    channels=3,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


def _biomedclip() -> nn.Module:
    """ViT-B/16 of timm with a linear projection of its class token to 512."""
    from open_clip.timm_model import TimmModel

    return TimmModel("vit_base_patch16_224", embed_dim=512, image_size=224, pool="", proj="linear")


def _clip() -> nn.Module:
    """ViT-B/16 as OpenAI trained it; its activation is the quick approximation of GELU."""
    from open_clip.transformer import QuickGELU, VisionTransformer

    return VisionTransformer(
        image_size=224,
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        mlp_ratio=4.0,
        output_dim=512,
        act_layer=QuickGELU,
    )


TOWERS: dict[str, Tower] = {
    tower.name: tower
    for tower in (
        Tower(
            name="biomedclip",
            dim=512,
            intake=_CLIP_INTAKE,
            build=_biomedclip,
            marker="trunk.cls_token",
            repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
            files=("open_clip_pytorch_model.bin",),
        ),
        Tower(
            name="clip",
            dim=512,
            intake=_CLIP_INTAKE,
            build=_clip,
            marker="class_embedding",
            repository="timm/vit_base_patch16_clip_224.openai",
            files=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        ),
    )
}
