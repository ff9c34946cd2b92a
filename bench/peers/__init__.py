"""Other dispatchers on the same numbers, each run by the interpreter of .venv-peers.

Nothing here imports the project, and the project imports none of the peers: cases go out and
answers come back as files of arrays.
"""
