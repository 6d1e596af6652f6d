# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole estates in memory, driven by a seed: the real agents against everything that goes wrong. See ``__main__``."""

import sys
from pathlib import Path

#: The agent is no package of this distribution: the role ships it.
_AGENT = str(Path(__file__).resolve().parent.parent / "roles" / "agent" / "files")
if _AGENT not in sys.path:
    sys.path.append(_AGENT)
