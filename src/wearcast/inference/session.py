"""One ONNX graph, run in batches on the CPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import BundleCorruptError

__all__ = ["OnnxSession"]


class OnnxSession:
    """A loaded graph: named inputs; the first output is what is forecast, others go by name."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load the graph at `path`.

        Raises:
            BundleCorruptError: ONNX Runtime cannot read it.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Each graph has threads of its own: waiting in loops, those of an ensemble take the cores from one another.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleCorruptError(f"ONNX Runtime cannot read the model: {error}", where=str(path)) from error
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())
        self.shape: tuple[int, ...] = tuple(self._session.get_outputs()[0].shape[1:])

    def run(self, feeds: dict[str, NDArray[np.generic]], output: str | None = None) -> NDArray[np.float32]:
        """One output of the graph, the first unless named, for the inputs that it names; others are not read."""
        (result,) = self._session.run([output or self.outputs[0]], {name: feeds[name] for name in self.inputs})
        return np.asarray(result, dtype=np.float32)


@cache
def _share_memory() -> None:
    """Let all graphs of the process work in the same memory: one each would multiply it by an ensemble's models."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, None)
