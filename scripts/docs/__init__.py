"""Writes docs/reference and the tables of variables in the roles' READMEs from the code they describe."""

import sys
from pathlib import Path

# The agent is no installed package: it is shipped to hosts as files of its role.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "roles" / "agent" / "files"))
