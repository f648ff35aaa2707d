"""A worker of test_stages_schedule.py, where new processes can import it."""

import os
import time

from langneurons.progress import track
from langneurons.stages.runner import Outcome


class Toy:
    """Does stages by their names: sleep, say and sleep, die, die once, or nothing."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, job):
        for name in job.names:
            marker = self.folder / f"{name}.{os.getpid()}"
            marker.write_text(",".join(job.names))
            if name.startswith("say"):
                with track("counting", total=3, unit="sheep"):
                    time.sleep(60)
            if name.startswith("sleep"):
                time.sleep(60)
            if name.startswith("die") or (
                name.startswith("once") and len(list(self.folder.glob(f"{name}.*"))) == 1
            ):
                os._exit(3)
        return [Outcome(name, "done", 0.0, job.reasons[name]) for name in job.names]
