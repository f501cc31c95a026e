"""Ctrl-C on a real training."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

WORDS = (
    "train", "simulated-cnn-bilstm", "--set", "dataset.units=6", "--set", "dataset.test_units=2",
    "--set", "dataset.typical_life=40", "--set", "trainer.max_epochs=500", "--set", "trainer.patience=500",
    "--set", "backbone.hidden=4", "--set", "backbone.channels=4", "--no-progress",
)  # fmt: skip
# A shell in the background ignores SIGINT, and so would its children.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from wearcast.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *WORDS, "--out", str(tmp_path / "b")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    checkpoint, deadline = tmp_path / "b.work" / "last.ckpt", time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-2:] == [
        f"stopped; the last checkpoint is in {checkpoint.parent}: the same command with --resume goes on",
        "error: interrupted",
    ]
    assert "Traceback" not in err
    assert checkpoint.exists()
    assert not (tmp_path / "b").exists()
