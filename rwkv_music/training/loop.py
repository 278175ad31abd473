"""One session of a run: from its beginning, or from a checkpoint, to its end or the next stop."""

import time
from contextlib import closing
from dataclasses import asdict, fields
from functools import cached_property
from typing import Any

from rwkv_music.devices import DeviceMonitor, DeviceReading, DeviceSampler, choose_device
from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model import MusicModel
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed
from rwkv_music.tokenizer.tokenizer import settings_text
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.distributed.process_group import WAIT, ProcessGroup
from rwkv_music.training.monitoring.loggers import open_tracker
from rwkv_music.training.monitoring.overfitting import CopyDetector, EarlyStopping
from rwkv_music.training.monitoring.samples import HeldOutSamples
from rwkv_music.training.run.checkpoints import Stored
from rwkv_music.training.run.control import PAUSE, RESUME, SAMPLE, SAVE, STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.run_metadata import differences, run_metadata, session_metadata
from rwkv_music.training.setup import set_up
from rwkv_music.training.trainer import StepMetrics

_STATUS_SECONDS = 0.5
_PAUSE_SECONDS = 0.05
_HEARTBEAT_SECONDS = 30.0


class Session:
    """The state of one run while it goes on, in the process that leads.

    Args:
        config: The settings.
        run: Its directory.
        callbacks: Who is told.
        group: The processes that train.
        resume: Whether to go on from the newest whole checkpoint.

    Raises:
        InputError: If the corpus cannot be used, or is not the one that the run began with.
    """

    def __init__(
        self,
        config: TrainingConfig,
        run: RunDirectory,
        callbacks: Callbacks,
        group: ProcessGroup,
        *,
        resume: bool,
    ) -> None:
        self.config = config
        self.directory = run
        self.step = int(run.status()["step"]) if resume else 0
        self._listeners = callbacks
        self._checkpoints = run.checkpoints(keep=config.run.keep_checkpoints)
        self._session = 1
        self._best = EarlyStopping()
        self._evaluation_is_due = self._is_paused = self._is_stopping = False
        self._saved: tuple[int, bool] | None = None
        self._ended_early = ""
        self._elapsed_before, self._began, self._said = 0.0, time.perf_counter(), 0.0
        self.device = choose_device(config.hardware.device)
        self.say("preparing", f"reading the corpus {config.data.corpus}")
        setup = set_up(
            config,
            group,
            progress=callbacks.on_piece,
            newest=self._newest if resume else lambda _: None,
        )
        self.group = group
        self.data, self.trainer = setup.data, setup.trainer
        self._stream = setup.stream
        self.tokenizer = self.data.tokenizer
        self.held_out = self.data.held_out()
        self.samples = HeldOutSamples.of(
            self.data.valid, number=config.run.sample_prompts, seed=config.run.seed
        )
        if setup.facts is None:
            self._begin_anew()
        else:
            self._go_on(setup.facts)
        self._tracker = open_tracker(config, group, run, step=self.step)

    def _begin_anew(self) -> None:
        """Write down what the run is, and the prompts of its samples."""
        self.samples.write_prompts(self.directory.path / "samples")
        self.directory.write_config(
            {
                **run_metadata(
                    self.config, self.trainer.model, self.tokenizer.settings, self.group.world_size
                ),
                "corpus": self.data.summary(),
                "baselines": self.data.baselines(self.held_out),
                "samples": self.samples.description(),
                "sessions": [session_metadata(self.config, 0, self.group.world_size)],
            }
        )
        self.directory.log(f"session 1 begins at step 0, on {self.device}")

    def _newest(self, data: DataModule) -> Stored:
        """The newest whole checkpoint, of a run with this music."""
        config, settings = self.directory.config(), data.tokenizer.settings
        before, now = (
            settings_text(renamed(config["tokenizer"], TOKENIZER_SETTINGS)),
            settings_text(settings),
        )
        if before != now:
            raise InputError(
                f"the corpus {self.config.data.corpus} has a tokenizer of {now}, the run in "
                f"{self.directory.path} began with one of {before}: bring its corpus back, or "
                "begin a new run with another --out"
            )
        if config["corpus"]["content_sha256"] != data.corpus.content_hash:
            raise InputError(
                f"the corpus {self.config.data.corpus} is not the one that {self.directory.path} "
                "was started with: restore its files, or start a new run with another `out`"
            )
        for step in reversed(self._checkpoints.steps()):
            try:
                return self._checkpoints.read(step, tokenizer_settings=settings)
            except CheckpointError as error:
                self.note(f"the checkpoint of step {step} is passed over: {error}")
        raise InputError(
            f"no checkpoint of {self.directory.path} can be read: begin a new run with another "
            "--out"
        )

    def _go_on(self, facts: dict[str, Any]) -> None:
        """Bring the directory to what it was at the checkpoint; what came after it is dropped."""
        config = self.directory.config()
        self.step = self.trainer.steps_taken
        self._best = EarlyStopping(**facts["best"])
        self._evaluation_is_due = facts["look_is_due"]
        self._elapsed_before = facts["elapsed_seconds"]
        self._saved = (self.step, self._evaluation_is_due)
        self._checkpoints.tidy(after=self.step)
        if self._best.step in self._checkpoints.steps():
            self._checkpoints.name("best", self._best.step)
        dropped = self.directory.truncate_metrics(after=self.step)
        began = session_metadata(self.config, self.step, self.group.world_size)
        sessions = [*config["sessions"], began]
        self.directory.write_config({**config, "sessions": sessions})
        self._session = len(sessions)
        self.note(f"session {self._session} goes on from step {self.step}, on {self.device}")
        if dropped:
            self.note(f"{dropped} lines of metrics.jsonl behind that step were dropped")
        for difference in differences(config, self.trainer.model, self.group.world_size):
            self.note(f"not as when the run began, the last digits may differ: {difference}")

    def note(self, text: str) -> None:
        """Tell the user and the log."""
        self.directory.log(text)
        self._listeners.on_note(text)

    def say(self, state: str, message: str = "") -> None:
        """Replace the status."""
        self._said = time.perf_counter()
        self.directory.write_status(
            state,
            step=self.step,
            steps=self.config.run.steps,
            message=message,
            device=self.device,
            session=self._session,
        )

    def end(self, state: str, message: str = "") -> None:
        """Say and log how it ended."""
        self.directory.log(f"{state} after step {self.step}{': ' if message else ''}{message}")
        self.say(state, message)

    def kept(self) -> str:
        """What there is to go on from, as the end of a sentence."""
        steps = self._checkpoints.steps()
        if not steps:
            return "no checkpoint had been written"
        path = self._checkpoints.model_path(steps[-1])
        return f"the last good checkpoint, {path}, is kept: go on from it with --resume"

    def run_to_end(self) -> None:
        """Take steps until the last one, or until somebody asks to stop."""
        self._began = time.perf_counter()
        self.say("running")
        with (
            closing(self._tracker),
            DeviceSampler(DeviceMonitor(self.device)) as sampler,
            self._stream,
        ):
            self._listen()
            self._evaluate_if_due()
            if not self._is_over():
                for report in self.trainer:
                    self._after(report, sampler)
                    if self._is_over():
                        break
        self._save()
        if self.step and not self._checkpoints.path("best").exists():
            self._checkpoints.name("best", self.step)
        is_complete = self.step == self.config.run.steps or self._ended_early
        self.end("finished" if is_complete else "stopped", self._ended_early)

    def _is_over(self) -> bool:
        if (
            self.config.run.early_stopping_patience
            and self._best.evaluations_since_best >= self.config.run.early_stopping_patience
        ):
            self._ended_early = (
                "early stop: no better held-out loss in "
                f"{self._best.evaluations_since_best} evaluations; best "
                f"{self._best.loss:.4f} at step {self._best.step}"
            )
        return self._is_stopping or bool(self._ended_early)

    def _after(self, report: StepMetrics, sampler: DeviceSampler) -> None:
        """What a step is followed by: a line, perhaps a look, a checkpoint, and obedience."""
        self.step = report.step
        self._log_step(report, sampler)
        self._listeners.on_step(report)
        self._evaluation_is_due = self._is_evaluation_step()
        self._listen()
        self._evaluate_if_due()
        if self.config.run.save_every and self.step % self.config.run.save_every == 0:
            self._save()
        if time.perf_counter() - self._said > _STATUS_SECONDS:
            self.say("running")

    def _is_evaluation_step(self) -> bool:
        return self.step % self.config.run.evaluate_every == 0 or self.step == self.config.run.steps

    @property
    def _elapsed(self) -> float:
        return self._elapsed_before + time.perf_counter() - self._began

    def _log_step(self, report: StepMetrics, sampler: DeviceSampler) -> None:
        by_kind = {name: round(value, 5) for name, value in report.loss_by_kind.items()}
        self._tell_metrics(
            {
                **asdict(report),
                "loss_by_kind": by_kind,
                **device_figures(sampler),
                "elapsed_seconds": round(self._elapsed, 3),
            }
        )

    def _tell_metrics(self, line: dict[str, Any]) -> None:
        self.directory.append_metrics(line)
        self._tracker.log(line)

    def _listen(self) -> None:
        """Obey what was asked since the last step; a pause lasts until it is called off."""
        self._obey()
        if not self._is_waiting():
            return
        self._save()
        began = time.perf_counter()
        self.say("paused")
        while self._is_waiting():
            time.sleep(_PAUSE_SECONDS)
            self._obey()
            if time.perf_counter() - self._said > _HEARTBEAT_SECONDS:
                self.say("paused")
                self.group.send_command(WAIT)
        self._began += time.perf_counter() - began
        self.say("running")

    def _is_waiting(self) -> bool:
        return self._is_paused and not self._is_stopping

    def _obey(self) -> None:
        for word in self.directory.control.take():
            self.directory.log(f"asked to {word}, at step {self.step}")
            if word in {PAUSE, RESUME}:
                self._is_paused = word == PAUSE
            elif word == STOP:
                self.say("stopping", "saving")
                self._is_stopping = True
            elif word == SAVE:
                self._save()
            elif word == SAMPLE:
                self._complete_samples()
            else:
                self.note(f"the control file says '{word}', which means nothing")

    def _evaluate_if_due(self) -> None:
        """Measure the held-out pieces, unless somebody asks to stop: then the next session does."""
        if not self._evaluation_is_due or self._is_stopping:
            return
        self.say("running", "measuring the held-out pieces")
        model = self._model()
        measured = self.held_out.likelihood_unless(model, self._must_break_off)
        if measured is None:
            return
        completion, everything = measured
        is_best = self._best.look(self.step, completion.nats_per_token)
        copied, samples = self._completed(model)
        line = {
            "step": self.step,
            "loss_valid": completion.nats_per_token,
            "nats_per_note_valid": completion.nats_per_note,
            "bits_per_second_valid": completion.bits_per_second,
            "loss_by_kind_valid": completion.by_kind,
            "loss_valid_everything": everything.nats_per_token,
            "nats_per_note_valid_everything": everything.nats_per_note,
            "bits_per_second_valid_everything": everything.bits_per_second,
            "samples": samples,
            "longest_copied_run": copied,
            "warnings": self._warnings(completion.nats_per_token, copied),
            "elapsed_seconds": round(self._elapsed, 3),
        }
        self._tell_metrics(line)
        self._evaluation_is_due = False
        self._save()
        if is_best:
            self._checkpoints.name("best", self.step)
        self._tell(line)

    def _model(self) -> MusicModel:
        """The model as it is now, with its tokenizer's settings."""
        return MusicModel(self.trainer.whole_model(), self.tokenizer.settings)

    def _must_break_off(self) -> bool:
        self._obey()
        return self._is_stopping

    def _tell(self, line: dict[str, Any]) -> None:
        self.directory.log(f"step {self.step}: held-out loss {line['loss_valid']:.4f}")
        for warning in line["warnings"]:
            self.note(f"step {self.step}: {warning}")
        self._listeners.on_evaluation(line)

    def _warnings(self, loss: float, copied: int) -> list[str]:
        found = (self._best.warning(loss), CopyDetector.warning(copied, self._copied_originally))
        return [warning for warning in found if warning is not None]

    def _completed(self, model: MusicModel) -> tuple[int, list[str]]:
        """Complete the held-out prompts; the longest quotation in them, and where they are."""
        paths = self.directory.sample_paths(self.step, len(self.samples.prompts))
        scores = self.samples.complete(model, paths)
        names = [path.relative_to(self.directory.path).as_posix() for path in paths]
        return self.samples.longest_copied_run(self._detector, scores), names

    def _complete_samples(self) -> None:
        """Complete the held-out prompts between two looks."""
        copied, names = self._completed(self._model())
        self._tell_metrics({"step": self.step, "samples": names, "longest_copied_run": copied})

    @cached_property
    def _detector(self) -> CopyDetector:
        return CopyDetector(self.data.train_pieces, self.tokenizer)

    @cached_property
    def _copied_originally(self) -> int:
        return self.samples.longest_copied_run(self._detector, self.samples.originals())

    def _save(self) -> None:
        """Write a checkpoint, if there is anything new to write."""
        if self._saved == (self.step, self._evaluation_is_due) or not self.step:
            return
        self.directory.sync_metrics()
        self._checkpoints.save(
            self.step,
            self.trainer.snapshot(),
            tokenizer_settings=self.tokenizer.settings,
            facts={
                "stream": self._stream.position(),
                "best": self._best.to_dict(),
                "look_is_due": self._evaluation_is_due,
                "elapsed_seconds": self._elapsed,
            },
            metadata={"run": self.config.to_dict()},
        )
        self._saved = (self.step, self._evaluation_is_due)


def device_figures(sampler: DeviceSampler) -> dict[str, Any]:
    """How busy the device has been since the last step, its memory, and all else it tells."""
    reading = sampler.latest()
    told = {"kind", "name", "busy_percent", "memory_used", "memory_total"}
    others = {each.name for each in fields(DeviceReading)} - told
    memory = None if reading is None else reading.memory_used
    return {
        "device_busy_percent": sampler.mean_busy_percent(),
        "memory_gib": None if memory is None else round(memory / 2**30, 3),
        **{f"device_{name}": getattr(reading, name, None) for name in sorted(others)},
    }
