"""Requirements of training on the operating system."""

import sys

from trainer.mistakes import Mistake


def check_system() -> None:
    """Mistake on Windows, where everything works but training."""
    if sys.platform == "win32":
        raise Mistake(
            "training needs Linux, such as WSL 2 (macOS has what it needs, but was not tried): Windows has no fork "
            "servers, POSIX locks and stop signals; upscale, export, push and import_options work here."
        )
