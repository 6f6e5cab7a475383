"""Arms the fuse in a console script: Python imports a module of this name from PYTHONPATH when it starts."""

from ml_intern.tests.crash.fuse import install

install()
