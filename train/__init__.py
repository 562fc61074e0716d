"""Training: shards -> trained weights. `python -m train --shards DIR --model DIR --output_dir DIR`.

The loop itself is `train.loop.train`; importing it loads MindSpore, which importing this package does not.
"""

from train.arguments import TrainArguments
from train.cli.command_line import CommandLine, parse_command_line
from train.errors import TrainingFailed, UsageError

__all__ = ["CommandLine", "TrainArguments", "TrainingFailed", "UsageError", "parse_command_line"]
