"""Files that are whole or absent: atomic writes, JSON lines, bounded YAML, paths, and disks that are full."""
