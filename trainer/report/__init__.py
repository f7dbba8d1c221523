"""The page of a run: `python -m trainer.report RUN` writes one self-contained HTML file from the run's folder."""
