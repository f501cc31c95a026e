"""The Lightning module: one step, one validation figure, one schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from wearcast.errors import TrainingError
from wearcast.models.network import ForecastNetwork, Loss
from wearcast.training.data import LabelledBatch
from wearcast.training.experiment import Optimiser, TrainerSpec

__all__ = ["ForecastModule"]

NAMED = 5
"""Units of a batch that a complaint names."""


class ForecastModule(lightning.LightningModule):
    """Trains a `ForecastNetwork`; `history` holds the metrics of each finished epoch."""

    def __init__(
        self,
        network: ForecastNetwork,
        loss: Loss,
        optimiser: Optimiser,
        trainer: TrainerSpec,
        *,
        n_sensors: int,
        n_deviations: int,
        sensor_of: Sequence[int],
        exact: Sequence[bool],
        units: Sequence[int | str],
        seed: int,
    ) -> None:
        """Around a network.

        Args:
            network: to be trained.
            loss: of the head.
            optimiser, trainer: see there.
            n_sensors, n_deviations: the first channels are the sensors, the next their deviations.
            sensor_of: the sensor that each channel tells of, by its number; -1 where it is of none.
            exact: whether each channel is free of errors of measurement, and so of noise.
            units: names of the units that are trained on, for complaints.
            seed: of noise and dropout.
        """
        super().__init__()
        self.network = network
        self.loss = loss
        self.optimiser = optimiser
        self.spec = trainer
        self.units = units
        self.seed = seed
        offset_sd = torch.zeros(network.inputs.n_past)
        offset_sd[:n_sensors] = trainer.level_noise
        offset_sd[n_sensors : n_sensors + n_deviations] = trainer.deviation_noise
        self.register_buffer("offset_sd", offset_sd, persistent=False)
        self.offset_sd: Tensor
        noise_sd = trainer.input_noise * (1.0 - torch.tensor(exact, dtype=torch.float32))
        self.register_buffer("noise_sd", noise_sd, persistent=False)
        self.noise_sd: Tensor
        # What is of no sensor stays, as the one behind the last.
        of = torch.tensor([n_sensors if sensor < 0 else sensor for sensor in sensor_of])
        self.register_buffer("sensor_of", of, persistent=False)
        self.sensor_of: Tensor
        is_mask = torch.tensor([sensor >= 0 and sure for sensor, sure in zip(sensor_of, exact, strict=True)])
        self.register_buffer("is_mask", is_mask, persistent=False)
        self.is_mask: Tensor
        self.n_sensors = n_sensors
        self.history: list[dict[str, float]] = []
        self.step_raw = torch.compile(network.raw) if trainer.compile else network.raw
        self._errors: list[Tensor] = []
        self._losses: list[Tensor] = []

    def on_train_batch_start(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Seed noise and dropout by step, so that a resumed training draws what the unbroken one would have."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step * 97 + self.global_rank)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor:
        """Loss of one batch of noisy inputs."""
        past = self._without_some(self._noisy(batch.past, batch.mask))
        raw = self.step_raw(past, batch.mask, batch.static, batch.known_future)
        loss: Tensor = self.loss(raw.float(), batch.answer, batch.known)[0]
        if not torch.isfinite(loss):
            raise self._diverged("the loss", loss, batch.unit)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.past))
        return loss

    def _noisy(self, past: Tensor, mask: Tensor) -> Tensor:
        """Noise at every step, and offsets that stay for a window: what identifies a unit must not be learnt."""
        offset = self.offset_sd * torch.randn(len(past), 1, past.shape[2], device=past.device)
        noise = self.noise_sd * torch.randn_like(past)
        return past + (noise + offset) * mask.unsqueeze(2)

    def _without_some(self, past: Tensor) -> Tensor:
        """Sensors are missing as the preprocessing would show it, half of them all along, half from a step on.

        The first are 0 in level, deviation and mask; the others hold level and deviation from then on, with mask 0.
        Each window draws its own share, so that windows with all sensors, as most are in service, are seen often: with
        one share for all windows the error on good data was far greater. The rest is not scaled up.
        """
        if self.spec.sensor_dropout == 0:
            return past
        (n, steps, _), device = past.shape, past.device
        share = self.spec.sensor_dropout * torch.rand(n, 1, device=device)
        struck = torch.rand(n, self.n_sensors + 1, device=device) < share
        struck[:, -1] = False
        last = (2 * steps * torch.rand(n, self.n_sensors + 1, device=device)).long() - steps  # negative: none at all
        last = torch.where(struck, last, steps)[:, None, self.sensor_of]
        held = past.gather(1, last.clamp(0, steps - 1)) * ((last >= 0) & ~self.is_mask)
        return torch.where(torch.arange(steps, device=device)[:, None] > last, held, past)

    def _diverged(self, what: str, value: Tensor, unit: Tensor | None = None) -> TrainingError:
        where = f"epoch {self.current_epoch}, step {self.global_step}"
        if unit is not None:
            names = [str(self.units[i]) for i in sorted(set(unit.tolist()))]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            where += f", a batch of units {', '.join(names[:NAMED])}{more}"
        kept = "; --resume goes on from the epoch before" if self.current_epoch else ""
        return TrainingError(
            f"{what} is {value.item()} at {where}",
            hint=f"lower optimiser.learning_rate, or look for wild values with `wearcast datasets check`{kept}",
        )

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Collect the error on held-out units, pooled over all of their windows."""
        raw = self.network.raw(batch.past, batch.mask, batch.static, batch.known_future)
        loss, figure = self.loss(raw.float(), batch.answer, batch.known)
        self._errors.append(self.loss.errors(figure, batch.answer, batch.known))
        self._losses.append(loss.detach().expand(len(batch.past)))

    def on_validation_epoch_end(self) -> None:
        """Log the pooled validation error and loss; weights that are not finite never reach a checkpoint."""
        pooled = torch.stack([torch.cat(self._errors).mean(), torch.cat(self._losses).mean()])
        self._errors.clear()
        self._losses.clear()
        pooled = torch.as_tensor(self.trainer.strategy.reduce(pooled, reduce_op="mean"))
        if not torch.isfinite(pooled).all():
            raise self._diverged("the error on the held-out units", pooled[0])
        self.log(f"val_{self.loss.error_name}", self.loss.pooled(pooled[0]), prog_bar=True)
        self.log("val_loss", pooled[1])

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's metrics."""
        metrics = {k: float(v) for k, v in self.trainer.callback_metrics.items()}
        self.history.append({"epoch": float(self.current_epoch), **metrics})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the history into the checkpoint."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history up again."""
        self.history = list(checkpoint["history"])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW; vectors (biases, norms) are not decayed."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        free = [p for p in self.network.parameters() if p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.optimiser.weight_decay}, {"params": free, "weight_decay": 0.0}],
            lr=self.optimiser.learning_rate,
            fused=self.spec.precision == "32-true",
        )
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = self.optimiser.warm_up_share
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=self.optimiser.learning_rate,
            total_steps=steps,
            pct_start=warm_up if warm_up * steps > 1 else 0.0,  # a warm-up of one step would divide by nothing
            cycle_momentum=False,
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
