"""Everything about model calls."""
