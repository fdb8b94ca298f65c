"""The harmonizer: one scaled volume in, the same brain in its sequence's domain out.

Stage I moves a scan into the unified domain of its sequence; where the model was fine-tuned to a target site,
Stage II moves the result on to that site.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bids_mmh.errors import BadDataError
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.denoise import noise_level, without_noise
from bids_mmh.method.diffusion.gradient import gradient_map
from bids_mmh.method.diffusion.patch_artifact import without_grid
from bids_mmh.method.diffusion.sampling import Predictor, invert, sample
from bids_mmh.method.diffusion.schedule import NoiseSchedule
from bids_mmh.method.diffusion.unet import ConditionalUNet
from bids_mmh.method.model_files import (
    CONFIG_FILE,
    SUMS_FILE,
    WEIGHTS_FILE,
    check_sums,
    existing,
    read_config,
    write_sums,
)
from bids_mmh.method.network_grid import coarse_box, coarse_brain, coarse_mask, on_voxels
from bids_mmh.method.padding import BACKGROUND, brain_box
from bids_mmh.method.precision import fast_autocast
from bids_mmh.method.style.code import style_code
from bids_mmh.method.style.statistics import (
    StyleRecords,
    StyleStatistics,
    join_styles,
    style_statistics,
    to_style,
)
from bids_mmh.method.style.tissue_style import mapped_statistics, tissue_map
from bids_mmh.method.style.tissues import Segmentation, default_priors, priors_on_grid, segment
from bids_mmh.method.target_style import TargetStyles

MARGIN = 4  # voxels around the brain that the network sees: beyond is background, which tells it nothing


@dataclass(frozen=True)
class Anchor:
    """What stays the same during inversion and sampling of a scan.

    Attributes:
        mask: (B, 1, H, W, D) brain mask.
        gradient: gradient map G of the scan on the network's grid; zeros where the model does without.
        sequence: (B,) sequence indices m.
        segmentation: tissues and gain of the scan; None where the model does without.
    """

    mask: Tensor
    gradient: Tensor
    sequence: Tensor
    segmentation: Segmentation | None = None

    @property
    def even(self) -> "Anchor":
        """The same of a harmonized scan, which has the gain of its scanner no more."""
        return self if self.segmentation is None else replace(self, segmentation=self.segmentation.even)

    def crop(self, box: tuple[slice, ...], coarsening: int) -> "Anchor":
        """What the networks need of a part of the volumes; five slices. Styles are measured on whole ones."""
        return Anchor(self.mask[box], self.gradient[coarse_box(box, coarsening)], self.sequence)


@dataclass(frozen=True)
class Styled:
    """A volume on the model's grid, and its style."""

    value: Tensor
    style: StyleStatistics


@dataclass(frozen=True)
class Latent:
    """A volume inverted to the depth of the model, and the style that it had before."""

    value: Tensor
    own: StyleStatistics


class Harmonizer(nn.Module):
    """Networks, style records, and inversion and sampling between domains.

    A scan is first mapped through the medians of its tissues. Inversion is then conditioned on its own style
    and sampling on the record of the domain to go to: with one style for both directions it would return its
    input (docs/method.md).

    Attributes:
        network: ε_θ of Stage I.
        records: unified domain of each sequence.
        target_network: fine-tuned copy of ``network``; None without a target site.
        target_records: style of each sequence at the target site; None without one.
        target_styles: styles of the scans of the site that the records are of; None for the unified domain.
        priors: (1, 4, 36, 46, 46) uint8 prior maps of the tissues, a buffer saved with the model.
    """

    priors: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = NoiseSchedule(config.schedule)
        self.register_buffer("priors", default_priors().clone()[None])
        self.network = self._new_network()
        self.records = self._new_records()
        self.target_network = None if config.target is None else self._new_network()
        self.target_records = None if config.target is None else self._new_records()
        self.target_styles: TargetStyles | None = None

    def _new_network(self) -> ConditionalUNet:
        return ConditionalUNet(self.config.network, len(self.config.sequences), self.config.schedule)

    def _new_records(self) -> StyleRecords:
        return StyleRecords(len(self.config.sequences), self.config.bins, self.config.decay)

    def sequence_index(self, sequence: str) -> int:
        """Index m of a BIDS suffix; BadDataError if the model was not trained for it."""
        if sequence not in self.config.sequences:
            known = ", ".join(self.config.sequences)
            raise BadDataError(
                f"Model '{self.config.name}' knows {known} but not {sequence}: choose another model."
            )
        return self.config.sequences.index(sequence)

    @torch.inference_mode()
    def forward(
        self,
        volume: Tensor,
        mask: Tensor,
        sequence: Tensor,
        *,
        stage: int | None = None,
        subject: str | None = None,
    ) -> Tensor:
        """Harmonize a batch; deterministic on one kind of device.

        Args:
            volume: (B, 1, H, W, D) float32, brain in about [−1, 1], background −1.
            mask: (B, 1, H, W, D) boolean brain mask.
            sequence: (B,) sequence indices.
            stage: 1 to stop in the unified domain, 2 to go on to the target site; by default as far as the
                model goes.
            subject: whose scans these are, with ``sub-``: its own scans at a target site do not count.

        Returns:
            Harmonized volumes, shape of ``volume``, background −1.

        Raises:
            ValueError: the model has no such stage.
            BadDataError: the style of the target site is known from this subject alone.
        """
        stages = (None, 1) if self.target_network is None else (None, 1, 2)
        if stage not in stages:
            raise ValueError(f"stage is {stage!r} but '{self.config.name}' takes one of {stages}")
        with fast_autocast(volume.device):
            volume = volume.to(memory_format=torch.channels_last_3d)
            anchor = self.anchor(volume, mask, sequence)
            result = self.unify(volume, anchor, subject=subject)
            if self.target_network is not None and self.target_records is not None and stage != 1:
                target = self.target_records.of(sequence)
                result = self.harmonize(self.target_network, result, anchor.even, target)
        return result

    def anchor(self, volume: Tensor, mask: Tensor, sequence: Tensor) -> Anchor:
        """What inversion and sampling of a batch have in common."""
        mask = mask.bool()
        gradient = self.gradient(coarse_brain(volume, mask, self.config.coarsening))
        return Anchor(mask, gradient, sequence, self.segment(volume, mask))

    def segment(self, volume: Tensor, mask: Tensor) -> Segmentation | None:
        """Tissues and gain of a batch, where the model's styles are by tissue."""
        if not self.config.needs_tissues:
            return None
        return segment(volume, mask, priors_on_grid(self.priors, volume.shape[2:]))

    def style(self, volume: Tensor, anchor: Anchor) -> StyleStatistics:
        """Style of a batch of brains."""
        return style_statistics(volume, anchor.mask, self.config.bins, segmentation=anchor.segmentation)

    def gradient(self, volume: Tensor) -> Tensor:
        """G of a volume as the network is shown it: zeros in the ablation w/o G."""
        return gradient_map(volume) if self.config.gradient_condition else torch.zeros_like(volume)

    def style_code(
        self, own: StyleStatistics, condition: StyleStatistics, *, remaining: Tensor | None = None
    ) -> Tensor:
        """The style code that the network is conditioned on; zeros in the ablation w/o E."""
        code = style_code(own, condition, self.config.network.style_code, remaining=remaining)
        return code if self.config.ema_guidance else torch.zeros_like(code)

    def unify(self, volume: Tensor, anchor: Anchor, *, subject: str | None = None) -> Tensor:
        """Stage I on a batch: into the domain of the records, or to the target styles; background −1."""
        style = self.domain(anchor.sequence, subject)
        return self.harmonize(self.network, volume, anchor, style)

    def domain(self, sequence: Tensor, subject: str | None = None) -> StyleStatistics:
        """Style that Stage I leads to, for a batch of one subject's scans."""
        if self.target_styles is None:
            return self.records.of(sequence)
        device = self.records.mean.device
        means = [self.target_styles.mean(m, without=subject) for m in sequence.tolist()]
        return join_styles(means).map(lambda values: values.to(device))

    def towards(self, site: str, styles: TargetStyles) -> "Harmonizer":
        """The same networks, with the style of a site in place of the unified domain; nothing is trained."""
        model = Harmonizer(replace(self.config, domain=site, target=None))
        model.network.load_state_dict(self.network.state_dict())
        for m in sorted(set(styles.sequence.tolist())):
            model.records.assign(m, styles.mean(m))
        model.target_styles = styles
        return model.to(memory_format=torch.channels_last_3d).eval()

    def harmonize(self, network: nn.Module, volume: Tensor, anchor: Anchor, style: StyleStatistics) -> Tensor:
        """Bring a batch to a style: noise filter, landmark map, inversion, sampling; background −1."""
        coarsening = self.config.coarsening
        box = brain_box(anchor.mask, MARGIN, coarsening * self.config.network.multiple)
        start = self.start(volume, anchor, style, box)
        result = torch.full_like(volume, BACKGROUND)
        inside = Styled(start.value[box], start.style)
        result[box] = self.corrected(network, inside, anchor.crop(box, coarsening), style)
        return result

    def start(self, volume: Tensor, anchor: Anchor, style: StyleStatistics, box: tuple[slice, ...]) -> Styled:
        """What the network starts from: a batch without its noise, mapped to a style.

        Noise goes first: its level is known of the scan, and where the map is steep it would be raised more
        than elsewhere.

        Args:
            volume: (B, 1, H, W, D).
            anchor: of the batch.
            style: to be in.
            box: five slices around the brains.
        """
        own = self.style(volume, anchor)
        quiet = volume.clone()
        quiet[box] = self.denoise(volume[box], anchor.mask[box], own)
        return self.landmark_map(Styled(quiet, own), anchor, style)

    def corrected(self, network: nn.Module, start: Styled, anchor: Anchor, style: StyleStatistics) -> Tensor:
        """What the network makes of its start, by inversion and sampling; background −1."""
        if not self.config.strength:
            return start.value
        change = self.change(network, *self.on_network_grid(start, anchor), style)
        return self.with_change(start.value, change, anchor.mask)

    def change(self, network: nn.Module, start: Styled, anchor: Anchor, style: StyleStatistics) -> Tensor:
        """What the network adds to its start, both on its grid: by the model's strength, 0 outside brains."""
        sampled = self.sample(network, self.invert(start, anchor), anchor, style)
        return self.config.strength * without_grid(
            sampled - start.value, anchor.mask, self.config.network.patch
        )

    def on_network_grid(self, scan: Styled, anchor: Anchor) -> tuple[Styled, Anchor]:
        """A batch and its anchor as the network sees them."""
        coarsening = self.config.coarsening
        value = coarse_brain(scan.value, anchor.mask, coarsening)
        mask = coarse_mask(anchor.mask, coarsening)
        return Styled(value, scan.style), Anchor(mask, anchor.gradient, anchor.sequence)

    def with_change(self, before: Tensor, change: Tensor, mask: Tensor) -> Tensor:
        """A batch after a change on the network's grid; background −1."""
        change = on_voxels(change, mask, self.config.coarsening)
        return torch.where(mask, before + change, BACKGROUND)

    def landmark_map(self, scan: Styled, anchor: Anchor, style: StyleStatistics) -> Styled:
        """Map intensities through the tissue medians, where the model does so: the network's start."""
        if self.config.intensity_map != "tissues":
            return scan
        own, target = scan.style.by_tissue, style.by_tissue
        share = self.config.regional_share
        value = tissue_map(scan.value, anchor.mask, own, target, regional=share)
        by_tissue = mapped_statistics(own, target)
        return Styled(value, replace(scan.style, tissues=by_tissue))

    def denoise(self, volume: Tensor, mask: Tensor, style: StyleStatistics) -> Tensor:
        """Filter noise out of a scan; its level is known from the style."""
        if style.tissues is None:
            return volume
        return without_noise(volume, mask, noise_level(style.tissues.detail), self.config.denoise)

    def invert(self, volume: Styled, anchor: Anchor) -> Latent:
        """Eq. 13 with the Stage I network, on its grid, conditioned on the volume's own style."""
        value = invert(
            self.schedule,
            self._predictor(self.network, anchor, volume.style, volume.style),
            volume.value,
            depth=self.config.depth,
            steps=self.config.inversion_steps,
        )
        return Latent(value, volume.style)

    def sample(
        self,
        network: nn.Module,
        latent: Latent,
        anchor: Anchor,
        condition: StyleStatistics,
        *,
        tracked: int | None = None,
    ) -> Tensor:
        """Eqs. 12 and 14 with either network: from a latent to a clean volume of the style conditioned on.

        All of it lies on the network's grid.

        Args:
            network: ``network``, ``target_network``, or what a training engine made of one.
            latent: of :meth:`invert`.
            anchor: of the scan.
            condition: style to be in.
            tracked: gradients flow through so many last steps; all by default.

        Returns:
            The volume, background −1.
        """
        adapt = self.config.intensity_map == "moments" and self.config.ema_guidance
        clean = sample(
            self.schedule,
            self._predictor(network, anchor, latent.own, condition),
            latent.value,
            depth=self.config.depth,
            steps=self.config.sampling_steps,
            correct=partial(to_style, mask=anchor.mask, style=condition.moments) if adapt else None,
            tracked=tracked,
        )
        return torch.where(anchor.mask, clean, BACKGROUND)

    def _predictor(
        self, network: nn.Module, anchor: Anchor, own: StyleStatistics, condition: StyleStatistics
    ) -> Predictor:
        """ε at any place of a path between t = 0 and the depth.

        A step from t to t′ keeps ε, in which the change made so far is missing: at t the volume has gone
        1 − ρ of the way, ρ being the noise-to-signal ratio at t over that at the depth. So the style
        displacement is scaled by ρ. On an inversion both styles are the same, and it is zero.
        """
        deepest = self.schedule.snr(torch.tensor([self.config.depth]))

        def predict(volume: Tensor, t: Tensor) -> Tensor:
            remaining = (deepest / self.schedule.snr(t.clamp(min=1))).sqrt().to(volume)
            code = self.style_code(own, condition, remaining=remaining)
            return network(volume, t, anchor.gradient, anchor.sequence, code).float()

        return predict

    def save_pretrained(self, folder: Path) -> None:
        """Write configuration, weights and their checksums into ``folder``, each atomically."""
        from safetensors.torch import save  # here and below: training on a bare machine goes without

        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMS_FILE).unlink(missing_ok=True)  # those of an earlier model would not fit
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        weights = folder / f".{WEIGHTS_FILE}.part"
        weights.write_bytes(save(tensors))
        weights.replace(folder / WEIGHTS_FILE)
        config = folder / f".{CONFIG_FILE}.part"
        config.write_text(json.dumps(self.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        config.replace(folder / CONFIG_FILE)
        if self.target_styles is not None:
            self.target_styles.save(folder)
        write_sums(folder)

    @classmethod
    def from_pretrained(cls, folder: Path, device: str | torch.device = "cpu") -> "Harmonizer":
        """Load a model folder.

        Raises:
            NoInputError: a file of the model is missing.
            BadDataError: a file is damaged or has changed, or weights and configuration do not fit together.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        model = cls(read_config(folder))
        try:
            model.load_state_dict(load_file(existing(folder / WEIGHTS_FILE)))
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadDataError(f"The weights in {folder} do not fit its configuration: {reason}.") from error
        model.target_styles = TargetStyles.load(folder)
        check_sums(folder)
        return model.to(device).to(memory_format=torch.channels_last_3d).eval()
