# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whole estates in memory, driven by a seed: the real agents against everything that goes wrong. See ``__main__``."""
