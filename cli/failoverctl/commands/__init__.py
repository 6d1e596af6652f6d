"""One module for each sub-command: parse, call, render. Only here click is used."""
