"""Pure functions from the state of a run, or of the estate, to text. Only here rich is used."""
