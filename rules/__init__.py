"""The reward programme: data, and the language it is written in. Pure, but for `files.py`, which reads directories."""
