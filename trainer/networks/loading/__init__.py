"""Weights from wherever they lie: files, runs, exports, the hub."""
