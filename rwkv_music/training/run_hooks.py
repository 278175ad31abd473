"""The hooks of a run with a directory: log, evaluate, save checkpoints, handle control requests."""

import time
from dataclasses import asdict, fields
from typing import Any

from rwkv_music.devices import DeviceReading, DeviceSampler
from rwkv_music.model import MusicModel
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import WAIT, ProcessGroup
from rwkv_music.training.loop import FitHooks
from rwkv_music.training.monitoring.evaluator import Evaluator
from rwkv_music.training.monitoring.overfitting import EarlyStopping
from rwkv_music.training.run.checkpoints import Checkpoints, RunProgress
from rwkv_music.training.run.control import COMMANDS, PAUSE, RESUME, SAMPLE, SAVE, STOP
from rwkv_music.training.run.reporter import RunReporter
from rwkv_music.training.run.run_metadata import differences, run_metadata, session_metadata
from rwkv_music.training.setup import TrainingSetup
from rwkv_music.training.trainer import StepMetrics

_PAUSE_SECONDS = 0.05
_HEARTBEAT_SECONDS = 30.0


class RunHooks(FitHooks):
    """What a run does after each step, in the main process.

    Args:
        config: The settings.
        setup: Data, loader and trainer.
        reporter: Writes status, log and metrics.
        checkpoints: The folder of checkpoints.
        group: The processes that train.
        sampler: Reads how busy the device is.
    """

    def __init__(
        self,
        config: TrainingConfig,
        setup: TrainingSetup,
        reporter: RunReporter,
        checkpoints: Checkpoints,
        *,
        group: ProcessGroup,
        sampler: DeviceSampler,
    ) -> None:
        self._config = config
        self._trainer, self._loader, self._data = setup.trainer, setup.loader, setup.data
        self._reporter = reporter
        self._directory = reporter.directory
        self._checkpoints = checkpoints
        self._group = group
        self._sampler = sampler
        self._evaluator = Evaluator(
            setup.data, num_prompts=config.run.sample_prompts, seed=config.run.seed
        )
        self._early_stopping = EarlyStopping()
        self._evaluation_is_due = self._is_paused = self._is_stopping = False
        self._saved: tuple[int, bool] | None = None
        self._elapsed_before, self._started = 0.0, time.perf_counter()
        if setup.resumed is None:
            self._start()
        else:
            self._resume(setup.resumed)

    def log_step(self, metrics: StepMetrics) -> None:
        """Append the metrics of a step to metrics.jsonl."""
        self._reporter.step = metrics.step
        self._reporter.log_metrics(
            {
                **asdict(metrics),
                "loss_by_type": {
                    name: round(loss, 5) for name, loss in metrics.loss_by_type.items()
                },
                **device_figures(self._sampler),
                "elapsed_seconds": round(self._elapsed, 3),
            }
        )
        self._reporter.call(self._reporter.callbacks.on_step, metrics)
        is_last = metrics.step == self._config.run.steps
        self._evaluation_is_due = is_last or metrics.step % self._config.run.evaluate_every == 0

    def handle_control_requests(self) -> None:
        """Handle the requests since the last step; a pause lasts until it is cancelled."""
        self._handle_new_requests()
        if not self._is_waiting():
            return
        self.save_checkpoint()
        paused = time.perf_counter()
        self._reporter.write_status("paused")
        while self._is_waiting():
            time.sleep(_PAUSE_SECONDS)
            self._handle_new_requests()
            if self._reporter.refresh_status("paused", after_seconds=_HEARTBEAT_SECONDS):
                self._group.send_command(WAIT)
        self._started += time.perf_counter() - paused
        self._reporter.write_status("running")

    def should_stop(self) -> bool:
        """Return whether a stop was requested, or the held-out loss no longer improves."""
        patience = self._config.run.early_stopping_patience
        return self._is_stopping or self._early_stopping.should_stop(patience)

    def evaluation_is_due(self) -> bool:
        """Return whether to evaluate now; after a stop request the next session does."""
        return self._evaluation_is_due and not self._is_stopping

    def evaluate(self) -> None:
        """Measure the held-out pieces and complete the prompts, unless a stop is requested."""
        self._reporter.write_status("running", "measuring the held-out pieces")
        model = self._current_model()
        losses = self._evaluator.losses(model, self._stop_was_requested)
        if losses is None:
            return
        step, loss = self._reporter.step, losses["loss_valid"]
        is_best = self._early_stopping.update(step, loss)
        samples = self._complete_prompts(model)
        copied = samples["longest_copied_run"]
        warnings = (self._early_stopping.warning(loss), self._evaluator.copy_warning(copied))
        line = {
            "step": step,
            **losses,
            **samples,
            "warnings": [warning for warning in warnings if warning is not None],
            "elapsed_seconds": round(self._elapsed, 3),
        }
        self._reporter.log_metrics(line)
        self._evaluation_is_due = False
        self.save_checkpoint()
        if is_best:
            self._checkpoints.link("best", step)
        self._directory.log(f"step {step}: held-out loss {loss:.4f}")
        for warning in line["warnings"]:
            self._reporter.note(f"step {step}: {warning}")
        self._reporter.call(self._reporter.callbacks.on_evaluation, line)

    def checkpoint_is_due(self) -> bool:
        """Return whether `save_every` asks for a checkpoint after this step."""
        save_every = self._config.run.save_every
        return save_every > 0 and self._reporter.step % save_every == 0

    def save_checkpoint(self) -> None:
        """Save a checkpoint, unless the current state is saved already."""
        step = self._reporter.step
        if self._saved == (step, self._evaluation_is_due) or not step:
            return
        self._directory.sync_metrics()
        model, tensors = self._trainer.state_dict()
        self._checkpoints.save(
            MusicModel(
                model,
                self._data.tokenizer.settings,
                {"step": step, "run": self._config.to_dict()},
            ),
            tensors,
            RunProgress(
                step=step,
                loader_position=self._loader.position(),
                early_stopping=self._early_stopping,
                evaluation_is_due=self._evaluation_is_due,
                elapsed_seconds=self._elapsed,
            ),
        )
        self._saved = (step, self._evaluation_is_due)

    def update_status(self) -> None:
        """Refresh status.json every half second."""
        self._reporter.refresh_status("running")

    def finish(self) -> None:
        """Name a best model and write how the run ended."""
        step = self._reporter.step
        if step and not self._checkpoints.path("best").exists():
            self._checkpoints.link("best", step)
        message = ""
        best = self._early_stopping
        if best.should_stop(self._config.run.early_stopping_patience):
            message = (
                "early stopping: no better held-out loss in "
                f"{best.evaluations_since_best} evaluations; best {best.loss:.4f} at step "
                f"{best.step}"
            )
        is_complete = step == self._config.run.steps or message
        self._reporter.end("finished" if is_complete else "stopped", message)

    @property
    def _elapsed(self) -> float:
        return self._elapsed_before + time.perf_counter() - self._started

    def _start(self) -> None:
        """Write config.json and the prompts of the samples."""
        self._evaluator.samples.write_prompts(self._directory.path / "samples")
        world_size = self._group.world_size
        settings = self._data.tokenizer.settings
        self._directory.write_config(
            {
                **run_metadata(self._config, self._trainer.model, settings, world_size),
                "corpus": self._data.summary(),
                "baselines": self._data.baselines(self._evaluator.held_out),
                "samples": self._evaluator.samples.description(),
                "sessions": [session_metadata(self._config, 0, world_size)],
            }
        )
        device = self._trainer.model.emb.weight.device
        self._directory.log(f"session 1 starts at step 0, on {device}")

    def _resume(self, progress: RunProgress) -> None:
        """Reset the directory to the checkpoint; whatever is newer is removed."""
        step = self._reporter.step = progress.step
        self._early_stopping = progress.early_stopping
        self._evaluation_is_due = progress.evaluation_is_due
        self._elapsed_before = progress.elapsed_seconds
        self._saved = (step, progress.evaluation_is_due)
        self._checkpoints.remove_after(step)
        if self._early_stopping.step in self._checkpoints.steps():
            self._checkpoints.link("best", self._early_stopping.step)
        num_dropped = self._directory.truncate_metrics(after=step)
        config = self._directory.config()
        world_size = self._group.world_size
        sessions = [*config["sessions"], session_metadata(self._config, step, world_size)]
        self._directory.write_config({**config, "sessions": sessions})
        self._reporter.session = len(sessions)
        model = self._trainer.model
        self._reporter.note(
            f"session {len(sessions)} resumes from step {step}, on {model.emb.weight.device}"
        )
        if num_dropped:
            self._reporter.note(f"{num_dropped} lines of metrics.jsonl after that step are dropped")
        for difference in differences(config, model, world_size):
            self._reporter.note(
                f"changed since the run started, so the last digits may differ: {difference}"
            )

    def _is_waiting(self) -> bool:
        return self._is_paused and not self._is_stopping

    def _stop_was_requested(self) -> bool:
        self._handle_new_requests()
        return self._is_stopping

    def _handle_new_requests(self) -> None:
        for command in self._directory.control.take():
            self._directory.log(f"request: {command}, at step {self._reporter.step}")
            if command in {PAUSE, RESUME}:
                self._is_paused = command == PAUSE
            elif command == STOP:
                self._reporter.write_status("stopping", "saving")
                self._is_stopping = True
            elif command == SAVE:
                self.save_checkpoint()
            elif command == SAMPLE:
                samples = self._complete_prompts(self._current_model())
                self._reporter.log_metrics({"step": self._reporter.step, **samples})
            else:
                self._reporter.note(
                    f"unknown command '{command}' in the control file, ignored "
                    f"(known: {', '.join(sorted(COMMANDS))})"
                )

    def _current_model(self) -> MusicModel:
        return MusicModel(self._trainer.full_model(), self._data.tokenizer.settings)

    def _complete_prompts(self, model: MusicModel) -> dict[str, Any]:
        """Complete the held-out prompts; return their files and the longest copied run."""
        num_prompts = len(self._evaluator.samples.prompts)
        paths = self._directory.sample_paths(self._reporter.step, num_prompts)
        copied = self._evaluator.complete_prompts(model, paths)
        names = [path.relative_to(self._directory.path).as_posix() for path in paths]
        return {"samples": names, "longest_copied_run": copied}


def device_figures(sampler: DeviceSampler) -> dict[str, Any]:
    """Return utilization and memory of the device since the last step, and its other readings."""
    reading = sampler.latest()
    reported = {"kind", "name", "busy_percent", "memory_used", "memory_total"}
    others = {field.name for field in fields(DeviceReading)} - reported
    memory = None if reading is None else reading.memory_used
    return {
        "device_busy_percent": sampler.mean_busy_percent(),
        "memory_gib": None if memory is None else round(memory / 2**30, 3),
        **{f"device_{name}": getattr(reading, name, None) for name in sorted(others)},
    }
