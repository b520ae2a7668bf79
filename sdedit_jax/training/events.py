"""Event files of TensorBoard, written by the caller's thread: a full disk is the caller's error."""

import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class Events:
    """A new event file in a folder; events of earlier files from `step` on are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = EventsWriter(str(folder / "events"))
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers, and flush the file."""
        for name, value in values.items():
            self._write(step, summary=summary.scalar(name, value))
        self.writer.flush()

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Write a picture, uint8 [H, W, 3]."""
        self._write(step, summary=summary.image(name, picture, dataformats="HWC"))

    def close(self) -> None:
        """Close the file."""
        self.writer.close()

    def _write(self, step: int, **content: object) -> None:
        self.writer.write_event(Event(step=step, wall_time=time.time(), **content))
