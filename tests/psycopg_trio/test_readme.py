"""The package's README: its program runs, with the folder copied into another project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from trailing import psycopg_trio

FOLDER = Path(psycopg_trio.__file__).parent
README = (FOLDER / "README.md").read_text()


def test_the_program_of_the_readme_runs_with_a_copy_of_the_folder_and_without_trailing(
    dsn: str, tmp_path: Path
) -> None:
    shutil.copytree(FOLDER, tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    program = program.replace("trailing.psycopg_trio", "copied").replace("postgresql://localhost/postgres", dsn)
    program += 'import sys\nassert not any(name.split(".")[0] == "trailing" for name in sys.modules)\n'
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "[('trio',)]\nhello\n"


def test_the_readme_lists_every_public_name() -> None:
    names = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert names == set(psycopg_trio.__all__) - {"Pool", "PoolStatistics"}
    assert "`Pool`" in README
    assert "`PoolStatistics`" in README
