"""MindSpore's own profile of some steps: a folder for each rank, with the time of every operator and collective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PROFILE_DIR = "profile"  # in output_dir
_VIEWER = "view its trace_view.json at https://ui.perfetto.dev, or all of it with MindStudio Insight"


class StepProfile:
    """Profiles the `steps` of a run, as this process makes them."""

    def __init__(self, steps: range, output_dir: Path, say: Callable[[str], None]) -> None:
        self._steps = steps
        self._folder = output_dir / PROFILE_DIR
        self._say = say
        self._profiler: Any = None

    def before(self, step: int) -> None:
        if step not in self._steps or self._profiler is not None:
            return
        from mindspore import profiler  # takes a moment to import

        left = self._steps[-1] - step + 1
        self._profiler = profiler.profile(
            start_profile=False,
            schedule=profiler.schedule(wait=0, warmup=0, active=left, repeat=1),
            on_trace_ready=profiler.tensorboard_trace_handler(str(self._folder)),
        )
        self._profiler.start()

    def after(self, step: int) -> None:
        if self._profiler is None:
            return
        self._profiler.step()
        if step == self._steps[-1]:
            self.close()

    def close(self) -> None:
        """A run that ends before the last of its steps writes what there is."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
            self._say(f"profile of steps {self._steps[0]}-{self._steps[-1]}: {self._folder}; {_VIEWER}")
