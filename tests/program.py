"""Runs the program as a person does: arguments, files, signals, exit codes."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESFLOW = os.environ.get("RESFLOW", str(ROOT / "build" / "resflow"))
JOURNAL = ".resflow-journal.sqlite"
GOOD, SOME_FAILED, USER_ERROR, CANCELLED = 0, 1, 2, 130


def resflow(*arguments, code=GOOD, **options):
    """Runs to the end, checks the exit code, gives the finished process (stdout, stderr as text)."""
    words = [RESFLOW, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == code, f"{' '.join(words)}: exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}"
    return done


def started(*arguments):
    """Starts it and comes back at once."""
    return subprocess.Popen([RESFLOW, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files_in(folder):
    """Every file below, hidden ones too: what was half-written would show. But for the journal of a batch, and SQLite's own beside it."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir() and not path.name.startswith(JOURNAL))
