"""The life of a thread: run, resume, store, effects."""
