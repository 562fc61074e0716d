"""Write train/doctor/stored.json: what one step of the doctor's tiny model gives, on CPU and in one process.

python scripts/make_doctor_numbers.py
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.cluster.world import World
from train.doctor.one_step import STORED, make_one_step

if __name__ == "__main__":
    STORED.write_text(json.dumps(asdict(make_one_step(0, World.single()).numbers), indent=1) + "\n")
