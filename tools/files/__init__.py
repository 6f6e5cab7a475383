"""Read, write and edit files of this machine."""
