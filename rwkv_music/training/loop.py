"""The training loop, shared by training and tuning."""

from rwkv_music.training.trainer import StepMetrics, Trainer


class FitHooks:
    """What `fit` calls around its steps; this base class does nothing."""

    def log_step(self, metrics: StepMetrics) -> None:
        """Record the metrics of a step."""

    def handle_control_requests(self) -> None:
        """Handle requests to pause, save, sample or stop."""

    def should_stop(self) -> bool:
        """Return whether to end before the last step."""
        return False

    def evaluation_is_due(self) -> bool:
        """Return whether to evaluate now."""
        return False

    def evaluate(self) -> None:
        """Evaluate the held-out pieces."""

    def checkpoint_is_due(self) -> bool:
        """Return whether to save a checkpoint now."""
        return False

    def save_checkpoint(self) -> None:
        """Save a checkpoint, unless the current state is saved already."""

    def update_status(self) -> None:
        """Tell viewers how far training is."""


def fit(trainer: Trainer, hooks: FitHooks) -> None:
    """Train until the last step, or until the hooks ask to stop.

    A resumed run first does what was still due when it stopped.

    Args:
        trainer: Takes the steps.
        hooks: Logs, evaluates, saves checkpoints and handles control requests.

    Raises:
        FloatingPointError: If the loss or the gradient is not finite.
        InputError: If a step has nothing to learn from.
    """
    num_steps = trainer.config.run.steps
    hooks.handle_control_requests()
    if hooks.evaluation_is_due():
        hooks.evaluate()
    while trainer.state.step < num_steps and not hooks.should_stop():
        batches = trainer.next_batches()
        metrics = trainer.step(trainer.state.step + 1, batches)
        hooks.log_step(metrics)
        hooks.handle_control_requests()
        if hooks.evaluation_is_due():
            hooks.evaluate()
        if hooks.checkpoint_is_due():
            hooks.save_checkpoint()
        hooks.update_status()
    hooks.save_checkpoint()
